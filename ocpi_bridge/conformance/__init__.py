"""Each way in which py_ocpi differs from OCPI, as data with evidence, and its repair.

Importing this package imports py_ocpi: it reads the environment when it is imported, so that must happen here, guarded.
"""

from ocpi_bridge.conformance import library

library.load()
