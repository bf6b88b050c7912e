"""Steps from one model format or precision to another, one file each."""
