"""Search for hyper-parameters: trainings of one algorithm in a given time, judged on validation classes alone."""
