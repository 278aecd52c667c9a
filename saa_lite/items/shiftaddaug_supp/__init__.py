"""Items of the supplement of ShiftAddAug."""
