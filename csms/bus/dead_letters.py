"""An entry that no worker could handle is kept with the reason, until an operator sends it again or drops it."""

from typing import Final

# KEYS: stream, dead letters; ARGV: group, entry id, stream's number, entry, error. Once, however often it is said.
BURY: Final = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 1 then
  redis.call('XADD', KEYS[2], '*', 'entry_id', ARGV[2], 'stream', ARGV[3], 'e', ARGV[4], 'error', ARGV[5])
end
"""
