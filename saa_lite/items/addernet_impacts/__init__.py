"""Items of "Impacts of Add-based Modules"."""
