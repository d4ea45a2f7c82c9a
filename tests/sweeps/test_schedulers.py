"""Schedulers train the right trials on: the papers' examples, and the same trials however the work is cut up."""

from fractions import Fraction

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.schedulers import ASHA, SCHEDULERS, Hyperband, Straight, SuccessiveHalving
from flaxcnn.sweeps.trials import GoOn, New, Status, Stop, Trial
from tests.sweeps.simulator import Disorderly, Simulation, scattered, told

ladders = st.sampled_from([(2, 1 / 8), (2, 1.0), (3, 1 / 9), (3, 1 / 27), (4, 0.05)])
synchronous = st.one_of(
    st.just(Straight()),
    ladders.map(lambda ladder: SuccessiveHalving(*ladder)),
    ladders.map(lambda ladder: Hyperband(*ladder)),
)
asynchronous = ladders.map(lambda ladder: ASHA(*ladder))
failures = st.dictionaries(st.integers(0, 30), st.integers(0, 2), max_size=12)


def paused(number, *scores, bracket=0):
    return Trial(number, {}, Status.PAUSED, bracket, scores=scores)


def running(number, *scores, bracket=0):
    return Trial(number, {}, Status.RUNNING, bracket, scores=scores)


def failed(number, *scores, bracket=0):
    return Trial(number, {}, Status.FAILED, bracket, scores=scores)


def by_number(trial, rung):
    return trial.number


@pytest.mark.parametrize(
    ("reduction", "least", "rungs"),
    [
        (3, 1 / 9, [(1, 9), (1, 3), (1, 1)]),
        (3, 0.05, [(1, 9), (1, 3), (1, 1)]),  # 1/27 would be less
        (3, 1 / 27, [(1, 27), (1, 9), (1, 3), (1, 1)]),
        (2, 0.3, [(1, 2), (1, 1)]),
        (4, 1, [(1, 1)]),
        (10, 0.001, [(1, 1000), (1, 100), (1, 10), (1, 1)]),
    ],
)
@pytest.mark.parametrize("kind", [SuccessiveHalving, Hyperband, ASHA])
def test_rungs_end_at_powers_of_the_reduction_not_below_the_least(kind, reduction, least, rungs):
    expected = [float(Fraction(*rung)) for rung in rungs]
    assert list(kind(reduction=reduction, least=least).fractions(0)) == expected


@pytest.mark.parametrize("least", [1 / reduction**power for reduction in (2, 3, 5, 7) for power in range(12)])
def test_a_least_that_is_a_power_is_the_first_rung_itself(least):
    reduction = next(each for each in (2, 3, 5, 7) if least in [1 / each**power for power in range(12)])
    assert ASHA(reduction, least).fractions(0)[0] == least


@pytest.mark.parametrize("kind", [SuccessiveHalving, Hyperband, ASHA])
@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("reduction", 1, "reduction: out of range; expected at least 2, found 1"),
        ("reduction", 2.5, "reduction: wrong type; expected a whole number, found 2.5"),
        ("least", 0, "least: out of range; expected a fraction above 0, at most 1, found 0.0"),
        ("least", float("nan"), "least: out of range; expected a fraction above 0, at most 1, found nan"),
        ("least", 1.5, "least: out of range; expected a fraction above 0, at most 1, found 1.5"),
        ("least", "1/9", "least: wrong type; expected a number, found '1/9'"),
    ],
)
def test_what_cannot_be_rungs_is_refused_in_one_line(kind, field, value, line):
    with pytest.raises(ConfigError) as caught:
        kind(**{field: value})
    assert str(caught.value) == f"{kind.__name__}.{line}"


def test_every_scheduler_has_a_name_and_works_without_arguments():
    assert list(SCHEDULERS) == ["none", "halving", "hyperband", "asha", "pbt"]
    for kind in SCHEDULERS.values():
        fractions = kind().fractions(0)
        assert fractions[-1] == 1
        assert list(fractions) == sorted(set(fractions))
        assert told(kind().decide([], 10, 3)) == told([New()] * 3)


def test_without_a_scheduler_every_trial_is_trained_to_its_end():
    simulation = Simulation(Straight(), 5, parallel=2, fails=lambda trial, rung: trial.number == 3)
    assert simulation.numbers(Status.COMPLETE) == [0, 1, 2, 4]
    assert simulation.numbers(Status.FAILED) == [3]
    assert told(simulation.actions) == told([New()] * 5)


def test_halving_of_nine_trials_trains_nine_then_three_then_one():
    simulation = Simulation(SuccessiveHalving(), 9, parallel=4, score=by_number)
    assert [simulation.reached(rung) for rung in range(3)] == [9, 3, 1]
    assert simulation.numbers(Status.COMPLETE) == [8]
    assert simulation.work == pytest.approx(9 * 1 / 9 + 3 * 2 / 9 + 1 * 6 / 9)


def test_halving_goes_by_the_score_of_each_rung():
    table = {0: (9, 1, 0), 1: (8, 2, 0), 2: (7, 3, 0), 3: (1, 9, 9)}
    simulation = Simulation(SuccessiveHalving(2, 1 / 4), 4, score=lambda trial, rung: table[trial.number][rung])
    assert [trial.rung for trial in simulation.trials] == [2, 3, 1, 1]
    after_the_first_rung = [Stop(2), Stop(3), GoOn(0), GoOn(1), Stop(0), GoOn(1)]
    assert told(simulation.actions) == told([New()] * 4 + after_the_first_rung)


def test_of_equal_scores_the_lower_number_goes_on_and_not_a_number_is_the_worst():
    trials = [paused(0, float("nan")), paused(1, 0.5), paused(2, 0.7), paused(3, 0.5), paused(4, 0.2)]
    assert told(SuccessiveHalving(2, 1 / 2).decide(trials, 5, 9)) == told([Stop(3), Stop(4), Stop(0), GoOn(2), GoOn(1)])


def test_a_rung_waits_for_trials_that_run_or_wait_but_not_for_failed_ones():
    ended = [paused(0, 0.1), paused(1, 0.2)]
    halving = SuccessiveHalving(3, 1 / 3)
    assert halving.decide([*ended, running(2)], 3, 9) == []
    assert halving.decide([*ended, Trial(2, {}, Status.WAITING)], 3, 9) == []
    assert told(halving.decide([*ended, failed(2)], 3, 9)) == told([Stop(0), GoOn(1)])


def test_a_failed_trial_counts_as_the_worst_of_its_rung():
    # Two of six go on, though three of them failed; and all that are left, where fewer are left than places.
    halving = SuccessiveHalving(3, 1 / 3)
    three_failed = [failed(0), paused(1, 0.2), failed(2), failed(3), paused(4, 0.1), paused(5, 0.3)]
    assert told(halving.decide(three_failed, 6, 9)) == told([Stop(4), GoOn(5), GoOn(1)])
    assert told(halving.decide([*(failed(number) for number in range(5)), paused(5, 0.0)], 6, 9)) == told([GoOn(5)])
    assert halving.decide([failed(number) for number in range(6)], 6, 9) == []


def test_trials_of_a_raised_budget_compete_with_those_that_ended_before():
    first = Simulation(SuccessiveHalving(), 9, score=by_number)
    more = Simulation(SuccessiveHalving(), 12, score=by_number, trials=first.trials)
    # 12 // 3 = 4 go on from the first rung: 11, 10, 9 and 8, which did already; of the 6 in the second, 2 do.
    assert [more.reached(rung) for rung in range(3)] == [12, 6, 3]
    assert more.numbers(Status.COMPLETE) == [8, 10, 11]


# The paper's algorithm 1 for R = 81 and eta = 3: for each bracket, (n_i, r_i) of its rungs.
HYPERBAND_81 = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(34, 3), (11, 9), (3, 27), (1, 81)],
    [(15, 9), (5, 27), (1, 81)],
    [(8, 27), (2, 81)],
    [(5, 81)],
]
# The documentation of mlr3hyperband prints this table for r_max = 8 and eta = 2.
HYPERBAND_8 = [[(8, 1), (4, 2), (2, 4), (1, 8)], [(6, 2), (3, 4), (1, 8)], [(4, 4), (2, 8)], [(4, 8)]]


@pytest.mark.parametrize(("reduction", "most", "table"), [(3, 81, HYPERBAND_81), (2, 8, HYPERBAND_8)])
def test_hyperband_trains_as_many_trials_to_each_rung_as_the_papers_table(reduction, most, table):
    hyperband = Hyperband(reduction, 1 / most)
    budget = sum(bracket[0][0] for bracket in table)
    assert hyperband.shares(budget) == [bracket[0][0] for bracket in table]
    simulation = Simulation(hyperband, budget, parallel=7)
    for number, bracket in enumerate(table):
        assert hyperband.fractions(number) == tuple(resource / most for _, resource in bracket)
        assert [simulation.reached(rung, number) for rung in range(len(bracket))] == [trials for trials, _ in bracket]


def test_hyperband_shares_a_budget_in_proportion_and_the_first_trials_are_of_the_most_aggressive_bracket():
    # 9, 5 and 3 of 17: of 34 trials twice as many, of 6 trials 3.2, 1.8 and 1.1.
    assert Hyperband().shares(34) == [18, 10, 6]
    assert Hyperband().shares(6) == [3, 2, 1]
    assert [trial.bracket for trial in Simulation(Hyperband(), 6, parallel=4).trials] == [0, 0, 0, 1, 1, 2]


@given(ladders, st.integers(0, 300))
def test_hyperband_gives_each_trial_of_the_budget_to_a_bracket(ladder, budget):
    hyperband = Hyperband(*ladder)
    shares = hyperband.shares(budget)
    assert sum(shares) == budget
    assert min(shares) >= 0
    assert len(shares) == len(hyperband.fractions(0))


def test_hyperbands_brackets_do_not_wait_for_each_other():
    trials = [
        *(paused(number, number) for number in range(3)),
        running(3, bracket=1),
        running(4, bracket=1),
        running(5, bracket=2),
    ]
    assert told(Hyperband().decide(trials, 6, 9)) == told([Stop(1), Stop(0), GoOn(2)])


def test_a_lowered_budget_lets_the_trials_that_began_go_on():
    trials = [paused(number, number) for number in range(3)]
    for scheduler in (SuccessiveHalving(), Hyperband()):
        assert told(scheduler.decide(trials, 2, 9)) == told([Stop(1), Stop(0), GoOn(2)])
    assert told(ASHA().decide(trials, 2, 9)) == told([GoOn(2)])
    assert Straight().decide(trials, 2, 9) == []


def test_asha_promotes_as_the_paper_says():
    """One worker, eta = 3, rungs 1/9, 1/3, 1: algorithm 2 by hand."""
    asha, scores = ASHA(), {0: 5, 1: 3, 2: 4, 3: 6, 4: 7, 5: 1, 6: 2, 7: 0, 8: 8}
    simulation = Simulation(asha, 9, score=lambda trial, rung: scores[trial.number])
    expected = [
        *[New()] * 3,
        GoOn(0),  # the best of 3
        New(),  # 3 is better than 0, but of 4 trials only the best one is in the best third: itself
        GoOn(3),
        New(),
        GoOn(4),  # the best of 5; then 3 have ended the second rung, and 4 is the best of them
        GoOn(4),
        *[New()] * 4,
        GoOn(8),
        # Of 9 trials 8, 4 and 3 are the best three, all promoted; of 4 in the second rung only 8 is in the best third.
        GoOn(8),
        *[Stop(number) for number in (0, 1, 2, 3, 5, 6, 7)],
    ]
    assert told(simulation.actions) == told(expected)
    assert simulation.numbers(Status.COMPLETE) == [4, 8]


def test_asha_promotes_from_the_highest_rung_first_and_begins_new_trials_last():
    trials = [
        *(paused(number, 10 + number, 10 + number) for number in range(3)),
        *(paused(number, 9) for number in range(3, 6)),
        *(paused(number, 20 + number) for number in range(6, 9)),
    ]
    promotions = [GoOn(2), GoOn(8), GoOn(7), GoOn(6)]  # the best of 3, then the best 3 of 9
    for free in range(7):
        assert told(ASHA().decide(trials, 20, free)) == told([*promotions, New(), New()][:free])


def test_asha_promotes_while_others_run():
    trials = [paused(0, 0.1), paused(1, 0.3), paused(2, 0.2), running(3), running(4)]
    assert told(ASHA().decide(trials, 5, 2)) == told([GoOn(1)])
    assert ASHA().decide([*trials[:2], running(2), *trials[3:]], 5, 2) == []


def test_asha_counts_a_failed_trial_as_the_worst_of_the_rung_in_which_it_failed():
    assert told(ASHA().decide([paused(0, 0.1), paused(1, 0.3), failed(2), running(3)], 4, 1)) == told([GoOn(1)])
    # The one that failed in the second rung is the best of the first still.
    assert ASHA().decide([paused(0, 0.1), paused(1, 0.3), failed(2, 0.9), running(3)], 4, 1) == []


@pytest.mark.parametrize("budget", [1, 2, 3, 4])
def test_asha_trains_one_trial_to_the_end_also_where_the_rule_promotes_none(budget):
    simulation = Simulation(ASHA(), budget, parallel=2, score=by_number)
    assert simulation.numbers(Status.COMPLETE) == [budget - 1]
    assert simulation.numbers(Status.STOPPED) == list(range(budget - 1))


def test_where_the_rule_promotes_none_the_best_of_the_highest_rung_goes_on_first():
    assert told(ASHA().decide([paused(0, 0.9), paused(1, 0.5, 0.6)], 2, 9)) == told([GoOn(1)])


def test_asha_takes_the_next_best_to_the_end_where_the_best_fails():
    simulation = Simulation(ASHA(), 2, score=by_number, fails=lambda trial, rung: (trial.number, rung) == (1, 2))
    assert [trial.status for trial in simulation.trials] == [Status.COMPLETE, Status.FAILED]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@settings(max_examples=20, deadline=None)
@given(st.permutations(list(range(12))), st.integers(2, 4))
def test_asha_promotes_a_new_trial_where_optuna_does_not_prune_it(direction, values, reduction):
    # Optuna can't pause, so it promotes the best of fewer than `reduction` trials too.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction)
    study = optuna.create_study(direction=direction, pruner=pruner, sampler=optuna.samplers.RandomSampler(0))
    trials = []
    for number, value in enumerate(values):
        trial = study.ask()
        trial.report(value, step=1)
        pruned = trial.should_prune()
        trials.append(paused(number, value if direction == "maximize" else -value))
        promoted = GoOn(number) in ASHA(reduction).decide(trials, 100, 100)
        if len(trials) >= reduction:
            assert promoted is not pruned


def outcome(simulation):
    return [(trial.status, trial.scores, trial.bracket) for trial in simulation.trials]


@settings(deadline=None)
@given(
    synchronous, st.integers(1, 24), st.integers(1, 9), st.integers(0, 5), failures, st.randoms(use_true_random=True)
)
def test_synchronous_schedulers_end_alike_however_the_work_is_cut_up(
    scheduler, budget, parallel, seed, failing, choices
):
    def score(trial, rung):
        return scattered(trial, rung, seed)

    def fails(trial, rung):
        return failing.get(trial.number) == rung

    orderly = Simulation(scheduler, budget, 1, score, fails)
    disorderly = Simulation(scheduler, budget, parallel, score, fails, Disorderly(choices))
    assert outcome(disorderly) == outcome(orderly)
    assert len(orderly.trials) == budget
    assert all(trial.status.ended for trial in orderly.trials)


@settings(deadline=None)
@given(
    asynchronous, st.integers(1, 24), st.integers(1, 9), st.integers(0, 5), failures, st.randoms(use_true_random=True)
)
def test_asha_ends_with_a_complete_trial_unless_all_failed_however_the_work_is_cut_up(
    scheduler, budget, parallel, seed, failing, choices
):
    def score(trial, rung):
        return scattered(trial, rung, seed)

    def fails(trial, rung):
        return failing.get(trial.number) == rung

    simulation = Simulation(scheduler, budget, parallel, score, fails, Disorderly(choices))
    assert len(simulation.trials) == budget
    assert all(trial.status.ended for trial in simulation.trials)
    assert simulation.numbers(Status.COMPLETE) or len(simulation.numbers(Status.FAILED)) == budget


@settings(deadline=None)
@given(st.integers(3, 27), st.integers(1, 9), st.integers(0, 5), st.randoms(use_true_random=True))
def test_whoever_is_best_in_every_rung_is_trained_to_the_end_by_every_scheduler(budget, parallel, seed, choices):
    best = seed % budget
    for scheduler in (SuccessiveHalving(), Hyperband(), ASHA()):
        simulation = Simulation(
            scheduler,
            budget,
            parallel,
            lambda trial, rung: 2.0 if trial.number == best else scattered(trial, rung, seed),
            workers=Disorderly(choices),
        )
        assert best in simulation.numbers(Status.COMPLETE)


@settings(deadline=None)
@given(synchronous | asynchronous, st.integers(1, 20), st.integers(1, 20), st.randoms(use_true_random=True))
def test_a_raised_budget_is_used_up_and_ends(scheduler, budget, more, choices):
    first = Simulation(scheduler, budget, 3, workers=Disorderly(choices))
    then = Simulation(scheduler, budget + more, 3, workers=Disorderly(choices), trials=first.trials)
    assert len(then.trials) == budget + more
    assert all(trial.status.ended for trial in then.trials)
