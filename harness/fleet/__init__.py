"""One suite over many machines: what a client asks of a host, how it reaches it, who measures what."""
