"""MLflow as a record for people: the connection, the names, the pages. The ledger says what is done; MLflow shows it.

With `registry` the only room that imports MLflow. Uses `stages` and what lies below it.
"""
