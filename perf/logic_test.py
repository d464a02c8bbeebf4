"""What the measuring scripts conclude from what they read: `python3 -m unittest discover -s perf -p '*_test.py'`."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import budget
import pipelines
import policies
import provenance
import quiet
from processes import PERF


def case(**changes):
    return {"policies": "none", "span_bytes": 384, "instructions_per_span": 1000, "why": "measured", **changes}


class Budget(unittest.TestCase):
    def test_only_what_is_more_than_the_tolerance_above_fails(self):
        for count, fails, said in ((1029, False, None), (1031, True, "above"), (971, False, None), (969, False, "Lower it")):
            lines, failed = budget.compare([(case(), count)])
            self.assertEqual(failed, fails, count)
            self.assertEqual(len(lines) > 4, said is not None, lines)
            self.assertTrue(said is None or said in lines[-1], lines)

    def test_one_case_fails_the_whole_and_each_is_shown(self):
        lines, failed = budget.compare([(case(), 2000), (case(policies="ten"), 1000)])
        self.assertTrue(failed)
        self.assertEqual(sum(line.startswith("| 384 B") for line in lines), 2)
        self.assertIn("+100.0%", lines[3])

    def test_a_budget_without_a_reason_or_of_unknown_policies_is_refused(self):
        line = 'policies = "none"\nspan_bytes = 384\ninstructions_per_span = 1000\n'
        self.assertEqual(budget.read(f'[[case]]\n{line}why = "x"\n'), [case(why="x")])
        self.assertEqual(budget.read(f'[[case]]\n{line}why = "x"\nnodes = 3\n'), [case(why="x", nodes=3)])
        for text in (f"[[case]]\n{line}", f'[[case]]\n{line}why = ""\n', f'[[case]]\n{line}why = "x"\nmore = 1\n',
                     f'[[case]]\n{line}why = "x"\nnodes = 0\n', f'[[case]]\n{line}why = "x"\n'.replace("none", "eleven")):
            self.assertRaises(SystemExit, budget.read, text)

    def test_the_file_has_every_case_once(self):
        cases = [(each.get("nodes", 1), each["policies"], each["span_bytes"]) for each in budget.read(budget.FILE.read_text())]
        alone = [(1, "none", 384), (1, "none", 794), (1, "ten", 384), (1, "ten", 794)]
        self.assertEqual(sorted(cases), [*alone, (3, "none", 384), (3, "ten", 384)])

    def test_a_case_of_several_nodes_says_so(self):
        lines, _ = budget.compare([(case(), 1000), (case(nodes=3), 1000)])
        self.assertIn("| 384 B | none |", lines[3])
        self.assertIn("| 384 B | none, 3 nodes |", lines[4])


class Quiet(unittest.TestCase):
    @staticmethod
    def snapshots(seconds=10.0, busy=0.0, steal=0.0, own=0.0):
        begin = {"time": 5.0, "busy": 100.0, "steal": 1.0, "own": 50.0}
        passed = {"time": seconds, "busy": busy, "steal": steal, "own": own}
        return begin, {key: begin[key] + passed[key] for key in begin}

    def test_our_own_work_disturbs_nothing(self):
        self.assertEqual(quiet.disturbed(*self.snapshots(busy=19.0, own=18.5)), [])

    def test_others_and_the_hypervisor_are_told_apart(self):
        [found] = quiet.disturbed(*self.snapshots(busy=19.0, own=17.0))
        self.assertIn("other processes used 20% of a core", found)
        [found] = quiet.disturbed(*self.snapshots(steal=0.5))
        self.assertIn("5%", found)

    def test_ticks_of_a_short_window_say_nothing(self):
        self.assertEqual(quiet.disturbed(*self.snapshots(seconds=0.2, busy=0.1)), [])

    def test_a_slow_probe_is_measured_against_the_best_of_its_own_core(self):
        probes = [("first", 0, 1.1, 0.0), ("second", 1, 2.0, 0.0), ("third", 0, 1.3, 0.2)]
        found = quiet.slow(probes, {0: 1.0, 1: 1.9})
        self.assertEqual(len(found), 2, found)
        self.assertTrue(all("third: core 0" in each for each in found))

    def test_what_children_use_is_ours_while_they_live_and_afterwards(self):
        before = quiet.own_seconds()
        work = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
        child = subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        self.assertGreater(quiet.own_seconds() - before, 0.25)
        child.communicate(b"\n")
        self.assertGreater(quiet.own_seconds() - before, 0.25)

    def test_a_probe_runs_where_it_is_told_and_leaves_the_rest_as_it_was(self):
        cores = os.sched_getaffinity(0)
        pieces, waiting = quiet.spin(min(cores))
        self.assertEqual((len(pieces), os.sched_getaffinity(0)), (quiet.PIECES, cores))
        self.assertTrue(all(piece > 0 for piece in pieces) and 0 <= waiting < 1)


class Provenance(unittest.TestCase):
    @staticmethod
    def facts(dirty=False, commit="abcdef012345"):
        return {"dirty": dirty, "commit": "0123456789ab", "binaries": [{"name": "tailwater", "sha256": "00", "commit": commit}]}

    def test_the_history_takes_what_is_committed_and_built_from_it(self):
        self.assertIsNone(provenance.refusal(self.facts(), lambda _: True))
        self.assertIn("not committed", provenance.refusal(self.facts(dirty=True), lambda _: True))
        self.assertIn("abcdef012345", provenance.refusal(self.facts(), lambda _: False))
        self.assertIn("does not say", provenance.refusal(self.facts(commit=None), lambda _: True))

    def test_a_program_says_its_commit_and_has_a_hash(self):
        said = provenance.built("/bin/sh")
        self.assertIsNone(said["commit"])
        self.assertEqual(len(said["sha256"]), 16)

    @unittest.skipUnless((PERF.parent / ".git").exists(), "no repository")
    def test_the_commit_checked_out_is_its_own_code_and_an_unknown_one_is_not(self):
        self.assertTrue(provenance.is_same_code("HEAD"))
        self.assertFalse(provenance.is_same_code("0" * 40))


class Configurations(unittest.TestCase):
    def test_each_pipeline_has_a_sampler_of_its_own(self):
        text = pipelines.configuration(3)
        for index in range(3):
            self.assertIn(f"  tail_sampling/{index}:\n    decision_wait: 3s", text)
            pipeline = f"    traces/{index}:\n      receivers: [otlp]\n      processors: [tail_sampling/{index}, batch]"
            self.assertIn(pipeline, text)
        self.assertEqual(text.count("name: platinum"), 3)
        self.assertNotIn("tail_sampling:", text)

    def test_traces_wait_longer_than_they_are_spread(self):
        self.assertIn("decision_wait: 3s", policies.configuration(policies.SETS["ten"]))


if __name__ == "__main__":
    unittest.main()
