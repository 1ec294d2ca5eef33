"""Records decoded: values, events, batches."""
