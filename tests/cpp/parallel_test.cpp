// Regions, crews, shares, teams, forks, calls, and the number of threads that each gets.
#include "parallel.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.h"
#include "fastsoftmax/threads.h"
#include "sgd_problem.h"

namespace {

using fastsoftmax::parallel_region;
using fastsoftmax::Range;

// Each item is in one share; all but the last share end at whole grains; no share is much larger.
void test_share() {
  for (const std::ptrdiff_t n : {0, 1, 2, 15, 16, 17, 64, 65, 784, 1000, 60000}) {
    for (const std::ptrdiff_t grain : {1, 2, 16, 24, 64}) {
      for (int n_threads = 1; n_threads <= 9; ++n_threads) {
        std::ptrdiff_t end = 0;
        for (int thread = 0; thread < n_threads; ++thread) {
          const Range mine = fastsoftmax::share(n, grain, thread, n_threads);
          CHECK_EQ(mine.begin, end);
          CHECK(mine.begin <= mine.end);
          CHECK(mine.end % grain == 0 || mine.end == n);
          CHECK(mine.end - mine.begin <= n / n_threads + 2 * grain);
          end = mine.end;
        }
        CHECK_EQ(end, n);
      }
    }
  }
}

// Every thread of a region runs once, and all know the same number.
void test_region() {
  for (const int n_threads : {1, 2, 3, 8}) {
    std::vector<int> seen(8, 0);
    parallel_region(n_threads,
                    [&](int thread, int n) { seen[static_cast<std::size_t>(thread)] = n; });
    CHECK(seen[0] >= 1 && seen[0] <= n_threads);
    for (int thread = 0; thread < 8; ++thread) {
      CHECK_EQ(seen[static_cast<std::size_t>(thread)], thread < seen[0] ? seen[0] : 0);
    }
  }
}

void test_nested_region() {
  std::vector<int> n_inside(8, 0);
  parallel_region(3, [&](int thread, int) {
    parallel_region(4, [&](int inner, int n) {
      if (inner == 0) n_inside[static_cast<std::size_t>(thread)] = n;
    });
  });
  CHECK_EQ(n_inside[0], 1);
}

// Each piece of a phase is done once, by whomever, before anyone goes on. Threads
// that sleep now and then find that the others have done their pieces and gone on without them.
// first: the phase before the first one.
void test_team(int n_threads, bool sleepy, std::uint32_t first = 0) {
  const int n_phases = sleepy ? 300 : n_threads <= fastsoftmax::available_threads() ? 10000 : 1000;
  fastsoftmax::Team team(n_threads);
  for (int piece = 0; piece < n_threads; ++piece) team.skip_to(piece, first);
  if (first > 0) team.finish(first, 1);
  std::vector<int> done(static_cast<std::size_t>(n_threads), 0), wrong = done;
  parallel_region(n_threads, [&](int thread, int n) {
    fastsoftmax::Team::Member member(team, thread, n, first);
    for (int phase = 1; phase <= n_phases; ++phase) {
      if (sleepy && (phase * 7 + thread) % 50 == 0) usleep(500);
      member.run([&](int piece) {
        // All pieces have been done as often as phases have ended.
        for (int other = 0; other < n; ++other) {
          const int seen = std::atomic_ref(done[static_cast<std::size_t>(other)]).load();
          wrong[static_cast<std::size_t>(piece)] += seen != phase - 1 && seen != phase;
        }
        std::atomic_ref(done[static_cast<std::size_t>(piece)]).fetch_add(1);
      });
    }
  });
  int n_pieces = 0;
  for (std::size_t piece = 0; piece < done.size(); ++piece) {
    CHECK(done[piece] == n_phases || done[piece] == 0);
    CHECK_EQ(wrong[piece], 0);
    n_pieces += done[piece] > 0;
  }
  CHECK(n_pieces >= 1);
}

// A crew's regions are as other regions: each thread of each once, of as many threads as are asked
// for and there, and done when they end. Others that sleep meanwhile (in their own pieces, or
// because nothing comes for a while) are woken or replaced.
void test_crew(int n_threads, bool sleepy) {
  const int n_regions = sleepy ? 200 : n_threads <= fastsoftmax::available_threads() ? 10000 : 500;
  int wrong = 0, n_crew = 0;
  fastsoftmax::with_crew(n_threads, [&] {
    parallel_region(n_threads, [&](int thread, int n) {
      if (thread == 0) n_crew = n;
    });
    for (int region = 1; region <= n_regions; ++region) {
      const int n_asked = 1 + region % (n_threads + 1);
      std::vector<int> seen(static_cast<std::size_t>(n_threads) + 1, 0);
      if (sleepy && region % 20 == 0) usleep(500);
      parallel_region(n_asked, [&](int thread, int n) {
        if (sleepy && (region + thread) % 50 == 0) usleep(300);
        seen[static_cast<std::size_t>(thread)] += n;
        if (n == 1) return;
        parallel_region(4, [&](int inner, int n_inside) {
          std::atomic_ref(wrong).fetch_add(inner != 0 || n_inside != 1);
        });
      });
      const int n = std::min(n_asked, n_crew);
      for (int thread = 0; thread <= n_threads; ++thread) {
        wrong += seen[static_cast<std::size_t>(thread)] != (thread < n ? n : 0);
      }
    }
  });
  CHECK_EQ(wrong, 0);
  CHECK(n_crew >= 1 && n_crew <= n_threads);
}

// Phases inside a crew's regions, for which all of its threads have to come or be replaced.
void test_team_of_crew() {
  std::vector<int> done(3, 0);
  int n_crew = 0;
  fastsoftmax::with_crew(3, [&] {
    for (int region = 0; region < 300; ++region) {
      fastsoftmax::Team team(3);
      parallel_region(3, [&](int thread, int n) {
        fastsoftmax::Team::Member member(team, thread, n);
        for (int phase = 0; phase < 5; ++phase) {
          member.run([&](int piece) {
            if (piece == 0) n_crew = n;
            ++done[static_cast<std::size_t>(piece)];
          });
        }
      });
    }
  });
  for (int piece = 0; piece < 3; ++piece) {
    CHECK_EQ(done[static_cast<std::size_t>(piece)], piece < n_crew ? 1500 : 0);
  }
}

void test_crew_that_throws() {
  bool is_caught = false;
  int n_after = 0;
  try {
    fastsoftmax::with_crew(3, [] {
      fastsoftmax::with_crew(2, [] { parallel_region(2, [](int, int) {}); });  // the same crew
      throw std::runtime_error("");
    });
  } catch (const std::runtime_error&) {
    is_caught = true;
  }
  CHECK(is_caught);
  parallel_region(2, [&](int thread, int n) {
    if (thread == 0) n_after = n;
  });
  CHECK(n_after >= 1);
}

// Runs the body in a forked child, which has ten seconds.
template <class F>
bool succeeds_in_child(const F& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(10);
    _exit(body() ? 0 : 1);
  }
  int status = -1;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void test_fork() {
  test::SgdProblem<float, float> p(300, 100, 10, 50);
  const auto here = p.train_with(3);
  CHECK(succeeds_in_child([&] { return same_bits(p.train_with(3), here); }));
  CHECK(succeeds_in_child([&] {  // a child of the child
    return same_bits(p.train_with(2), here) &&
           succeeds_in_child([&] { return same_bits(p.train_with(3), here); });
  }));
  setenv("FASTSOFTMAX_CPUS", "4", 1);
  CHECK(succeeds_in_child([] { return fastsoftmax::plan_threads(0, 1e12) == 1; }));
  CHECK(succeeds_in_child([] { return fastsoftmax::plan_threads(4, 1e12) == 4; }));
  unsetenv("FASTSOFTMAX_CPUS");
  CHECK(same_bits(p.train_with(3), here));  // the parent goes on as before
  fastsoftmax::with_crew(
      3, [&] { CHECK(succeeds_in_child([&] { return same_bits(p.train_with(3), here); })); });
}

#if FASTSOFTMAX_OPENMP
// The runtime has threads although this library has never used it.
void test_fork_after_regions_of_others() {
  int n_running = 0;
#pragma omp parallel num_threads(3) reduction(+ : n_running)
  ++n_running;
  CHECK_EQ(n_running, 3);
  CHECK(succeeds_in_child([] {
    std::vector<int> seen(3, 0);
    parallel_region(3, [&](int thread, int n) { seen[static_cast<std::size_t>(thread)] = n; });
    return seen == std::vector<int>{3, 3, 3};
  }));
}
#endif

// A call runs once, on as many threads as its work is worth, again and again: the first time they
// sleep, then they spin; others that call meanwhile have threads of their own or none, and so have
// forked children. More threads than before may be asked for at any time.
void test_calls() {
  setenv("FASTSOFTMAX_CPUS", "4", 1);
  constexpr double kWorthOne = 9e3, kWorthTwo = 12e3, kWorthWaking = 1e9;
  const auto call = [](int n_requested, double work_ns) {
    int n_calls = 0, n_given = 0;
    std::vector<int> seen(8, 0);
    fastsoftmax::call_on_threads(n_requested, work_ns, [&](int n_threads) {
      ++n_calls;
      n_given = n_threads;
      parallel_region(n_threads, [&](int thread, int n) {
        seen[static_cast<std::size_t>(thread)] += n == n_threads ? 1 : 100;
      });
    });
    for (int thread = 0; thread < 8; ++thread) {
      if (seen[static_cast<std::size_t>(thread)] != (thread < n_given ? 1 : 0)) return -1;
    }
    return n_calls == 1 ? n_given : -2;
  };
  CHECK_EQ(call(0, kWorthOne), 1);
  usleep(2000);
  CHECK_EQ(call(0, kWorthTwo), 1);  // not worth waking anybody
  CHECK_EQ(call(2, kWorthWaking), 2);
  usleep(2000);
  CHECK_EQ(call(2, 60e3), 2);
  CHECK_EQ(call(4, kWorthWaking), 4);
  for (int i = 0; i < 2000; ++i) {
    const int n = call(1 + i % 4, kWorthWaking);
    CHECK_EQ(n, 1 + i % 4);
    const int few = call(0, kWorthTwo);  // two if the last call was so short a time ago
    CHECK(few == 1 || few == 2);
  }
  bool is_caught = false;
  try {
    fastsoftmax::call_on_threads(3, kWorthWaking, [](int) { throw std::runtime_error(""); });
  } catch (const std::runtime_error&) {
    is_caught = true;
  }
  CHECK(is_caught);
  CHECK_EQ(call(3, kWorthWaking), 3);
  CHECK(
      succeeds_in_child([&] { return call(3, kWorthWaking) == 3 && call(0, kWorthWaking) == 1; }));
  std::atomic<int> n_wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      for (int j = 0; j < 300; ++j) n_wrong += call(2 + i % 3, kWorthWaking) != 2 + i % 3;
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQ(n_wrong.load(), 0);
  unsetenv("FASTSOFTMAX_CPUS");
}

void test_plan_threads() {
  constexpr double kMuch = 1e12;
  unsetenv("OMP_NUM_THREADS");
  setenv("FASTSOFTMAX_CPUS", "6", 1);
  CHECK_EQ(fastsoftmax::available_threads(), 6);
  CHECK_EQ(fastsoftmax::plan_threads(0, kMuch), 6);
  CHECK_EQ(fastsoftmax::plan_threads(4, kMuch), 4);
  CHECK_EQ(fastsoftmax::plan_threads(100, kMuch), 6);
  setenv("OMP_NUM_THREADS", "3", 1);
  CHECK_EQ(fastsoftmax::plan_threads(0, kMuch), 3);
  CHECK_EQ(fastsoftmax::plan_threads(5, kMuch), 5);  // asked for beats the environment
  for (const char* text : {"2,4", "2, 1", " 2"}) {
    setenv("OMP_NUM_THREADS", text, 1);
    CHECK_EQ(fastsoftmax::plan_threads(0, kMuch), 2);
  }
  for (const char* text : {"", "0", "-3", "many", "1000000", "99999999999999999999"}) {
    setenv("OMP_NUM_THREADS", text, 1);
    CHECK_EQ(fastsoftmax::plan_threads(0, kMuch), 6);
  }
  for (const char* text : {"0", "-3", "many", "2x", "2,4", " "}) {
    setenv("FASTSOFTMAX_CPUS", text, 1);
    CHECK_THROWS(std::invalid_argument,
                 "FASTSOFTMAX_CPUS: '" + std::string(text) + "' is not a positive integer",
                 fastsoftmax::available_threads());
    CHECK_THROWS(std::invalid_argument, "FASTSOFTMAX_CPUS", fastsoftmax::plan_threads(4, kMuch));
  }
  setenv("FASTSOFTMAX_CPUS", "99999999999999999999", 1);
  CHECK_EQ(fastsoftmax::plan_threads(5, kMuch), 5);
  setenv("FASTSOFTMAX_CPUS", "", 1);
  const int available = fastsoftmax::available_threads();
  CHECK(available >= 1 && available <= static_cast<int>(sysconf(_SC_NPROCESSORS_CONF)));
  unsetenv("OMP_NUM_THREADS");
  unsetenv("FASTSOFTMAX_CPUS");
}

// More work never gets fewer threads; next to none gets one, whatever was asked for.
void test_small_work() {
  setenv("FASTSOFTMAX_CPUS", "8", 1);
  int before = 1;
  for (const double ns : {0.0, 1.0, 1e3, 1e4, 2e4, 1e5, 1e6, 1e9, 1e300}) {
    const int n = fastsoftmax::plan_threads(8, ns);
    CHECK(n >= before);
    if (ns <= 1e3) CHECK_EQ(n, 1);
    before = n;
  }
  CHECK_EQ(before, 8);
  unsetenv("FASTSOFTMAX_CPUS");
}

}  // namespace

int main() {
#if FASTSOFTMAX_OPENMP
  test_fork_after_regions_of_others();
#endif
  test_share();
  test_region();
  test_nested_region();
  for (int n_threads = 1; n_threads <= 8; ++n_threads) {
    test_team(n_threads, false);
    test_team(n_threads, true);
    test_team(n_threads, true, UINT32_MAX - 20);  // phases are counted in 32 bits, and begin anew
  }
  for (int n_threads = 2; n_threads <= 8; ++n_threads) {
    test_crew(n_threads, false);
    test_crew(n_threads, true);
  }
  test_team_of_crew();
  test_crew_that_throws();
  test_fork();
  test_calls();
  test_plan_threads();
  test_small_work();
  return test::report();
}
