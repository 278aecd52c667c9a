"""Items of ShiftAddAug: abstract, captions and the points of its figure."""
