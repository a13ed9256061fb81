"""What is recorded of a run, typed: configurations, measurements, machines. No torch, no pandas."""
