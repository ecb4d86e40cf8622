"""From files to tables, splits and pixels."""
