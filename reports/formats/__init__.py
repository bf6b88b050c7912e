"""The report as other than a page: Markdown to paste, pictures to place."""
