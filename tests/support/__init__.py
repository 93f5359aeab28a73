"""What tests share: a running app, a running server process, throw-away databases."""
