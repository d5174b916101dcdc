"""Protects the number of torch's threads, which is the whole process's, from work that borrows all cores."""

import threading

import torch

from processing.cores_videobert import cores_here, on_cores, one_core_each


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def numbers_of_new_threads():
    numbers = []
    in_thread(lambda: numbers.append(torch.get_num_threads())).join()
    return numbers


def test_blocks_that_overlap_in_two_threads_leave_the_number_as_it_was():
    """The second begins inside the first and ends after it: it must not take the first's single core for all."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    began, end, seen = threading.Event(), threading.Event(), []

    def second():
        with one_core_each() as cores:
            began.set()
            end.wait(60)
        seen.extend([cores, torch.get_num_threads(), cores_here()])

    try:
        with one_core_each() as cores:
            thread = in_thread(second)
            assert began.wait(60) and cores == 2 and cores_here() == 1
        assert torch.get_num_threads() == 2
        assert numbers_of_new_threads() == [1]  # the second's pieces still have a core each
        end.set()
        thread.join()
        assert seen == [2, 2, 2] and torch.get_num_threads() == 2 and numbers_of_new_threads() == [2]
    finally:
        torch.set_num_threads(before)


def test_blocks_inside_blocks_and_errors_restore_it():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        try:
            with one_core_each() as outer, one_core_each() as inner:
                assert (outer, inner) == (2, 1)
                raise KeyError
        except KeyError:
            pass
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_results_come_in_order():
    assert list(on_cores(2, lambda number: number * number, range(20))) == [number**2 for number in range(20)]
