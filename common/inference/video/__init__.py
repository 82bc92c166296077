"""Videos and cameras: frames sampled by time, a timeline of what they show, and alarms."""
