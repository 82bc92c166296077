"""Finished models that decide together, judged against each by itself.

`members` reads models and lets them look at images, `methods` combines what they say, `command` judges that.
"""
