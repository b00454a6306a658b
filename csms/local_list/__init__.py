"""The cards that a station lets in when it is alone: which they are, when it is told, and in which messages (D04, X06)."""
