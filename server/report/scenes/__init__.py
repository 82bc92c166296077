"""The report's part on photos of scenes: pictures, curves, counts and stores."""
