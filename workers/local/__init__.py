"""One machine: Postgres, Valkey and the processes of the Procfile, started and stopped together."""
