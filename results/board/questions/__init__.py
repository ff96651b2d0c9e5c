"""The SQL of each page: functions from choices to a text that `gradsweep query` takes too."""
