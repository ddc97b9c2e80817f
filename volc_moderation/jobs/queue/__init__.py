"""The queue of distributed jobs in Redis or Valkey."""
