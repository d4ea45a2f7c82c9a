"""Execution of trials: decide what to train, group trials by compiled program, distribute them among workers."""
