def test_x(store, study, run_trial):
    for n in range(5):
        run_trial(store, study, n, n / 5)
        store.flush()
    print(store.past(study))
    print(store.spec(study))
