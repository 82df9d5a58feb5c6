"""Built-in search spaces, one file a space; ``docs`` says how to write another one."""
