"""The isolated process: one engine, one job, one answer. Standard library, numpy and the engine under test alone."""
