"""From rows and prices to the answer a buyer asks for: which device, how many of it, at what cost."""
