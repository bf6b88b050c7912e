"""One file per way of driving a session: from a job to what one launch of it gave."""
