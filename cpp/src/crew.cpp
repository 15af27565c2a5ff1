// Crews: threads at hand for regions that are too short to start threads for, or to wait for one
// that has no CPU.
#include "crew.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "fastsoftmax/threads.h"
#include "float_mode.h"
#include "parallel.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fastsoftmax {

thread_local bool in_region = false;

void after_fork(void (*handler)()) {
#if defined(__unix__) || defined(__APPLE__)
  pthread_atfork(nullptr, nullptr, handler);
#else
  static_cast<void>(handler);
#endif
}

namespace {

// Pauses of a crew's threads between two regions, 100 microseconds: fits of logistic regressions do
// what is not worth threads meanwhile. On two threads of a Zen 4, milliseconds, of 200, 1000, 5000
// and 50,000: alone MNIST 673, 698, 667, 641, 10,000 rows of it 247, 234, 212, 219, digits 73, 71,
// 64, 58; beside one busy process 1195, 1237, 1230, 1274; 486, 444, 418, 532; 82, 82, 85, 114.
constexpr int kCrewSpins = 5000;

// A region is a phase of a team, whose body is known to who has claimed a piece of it. Who comes
// late, or after the end, finds nothing to claim.
class Crew {
 public:
  explicit Crew(int n_threads)
      : n_threads_(n_threads),
        team_(n_threads),
        posts_(new Post[static_cast<std::size_t>(n_threads)]) {
    for (int thread = 1; thread < n_threads; ++thread) team_.set_absent(thread, true);
  }

  int n_threads() const { return n_threads_; }

  // On a calling thread; only those of n_threads others hear of it.
  void run(int n_threads, const Body& body) {
    body_ = &body;
    n_running_ = n_threads;
    Team::Member caller(team_, 0, n_threads, region_);
    for (int thread = 0; thread < n_threads; ++thread) team_.skip_to(thread, region_);
    ++region_;
    for (int thread = 1; thread < n_threads; ++thread) send(thread, region_);
    in_region = true;
    caller.run([&](int piece) { body(piece, n_threads); });
    in_region = false;
  }

  // On the others, until close().
  void serve(int thread) {
    std::uint32_t last = 0;
    for (;;) {
      last = wait_for_next(thread, last);
      if (is_closed_.load(std::memory_order_acquire)) return;
      if (!team_.claim(thread, last)) continue;
      team_.set_absent(thread, false);
      (*body_)(thread, n_running_);
      team_.finish(last, n_running_);
    }
  }

  void close() {
    is_closed_.store(true, std::memory_order_release);
    ++region_;
    for (int thread = 1; thread < n_threads_; ++thread) send(thread, region_);
  }

 private:
  struct alignas(64) Post {
    std::atomic<std::uint32_t> region{0};
  };

  std::atomic<std::uint32_t>& post_of(int thread) {
    return posts_[static_cast<std::size_t>(thread)].region;
  }

  void send(int thread, std::uint32_t region) {
    post_of(thread).store(region, std::memory_order_seq_cst);  // before the look at who sleeps
    post_of(thread).notify_one();
  }

  std::uint32_t wait_for_next(int thread, std::uint32_t last) {
    const std::atomic<std::uint32_t>& post = post_of(thread);
    for (int i = 0; i < kCrewSpins; ++i) {
      const std::uint32_t region = post.load(std::memory_order_acquire);
      if (region != last) return region;
      pause();
    }
    team_.set_absent(thread, true);  // nobody need wait for who sleeps
    post.wait(last, std::memory_order_acquire);
    return post.load(std::memory_order_acquire);
  }

  const int n_threads_;
  Team team_;
  const std::unique_ptr<Post[]> posts_;
  const Body* body_ = nullptr;
  int n_running_ = 1;
  std::uint32_t region_ = 0;  // the last one
  std::atomic<bool> is_closed_{false};
};

// That of the calling thread, and how many of its threads may run.
struct CrewAtHand {
  Crew* crew = nullptr;
  int n_threads = 1;
};
thread_local CrewAtHand at_hand;

// Threads that serve one crew after the other and sleep meanwhile; more come as more are wanted.
// Not OpenMP's: theirs meet at the end of a region, spinning, and one that was woken on the CPU of
// the calling thread got there 3 to 7 milliseconds late. Neither they nor the pool ever end, for
// the process may do so at any time; a forked child has none of them, and makes its own.
class Pool {
 public:
  using Clock = std::chrono::steady_clock;

  static Pool& instance() {
    static std::once_flag once;
    std::call_once(once, [] {
      after_fork([] {
        instance_.store(nullptr);
        at_hand = {};
      });
    });
    Pool* pool = instance_.load();
    if (!pool) {
      auto made = std::make_unique<Pool>();
      if (instance_.compare_exchange_strong(pool, made.get())) pool = made.release();
    }
    return *pool;
  }

  // A crew of n_threads or more for the calling thread. One stays when it is given back, awake for
  // a while, for whoever is next; it is that one if nobody has it now.
  std::shared_ptr<Crew> take(int n_threads) {
    if (std::shared_ptr<Crew> crew = take_standing(n_threads)) return crew;
    return make(n_threads);
  }

  // That one, or none.
  std::shared_ptr<Crew> take_standing(int n_threads) {
    const std::lock_guard lock(standing_mutex_);
    if (standing_is_taken_) return nullptr;
    if (!standing_ || standing_->n_threads() < n_threads) {
      if (standing_) dismiss(std::exchange(standing_, nullptr));
      standing_ = make(n_threads);
    } else {
      const std::lock_guard also(mutex_);
      start_threads();  // that the system may have refused before
    }
    standing_is_taken_ = true;
    return standing_;
  }

  void give_back(const std::shared_ptr<Crew>& crew) {
    {
      const std::lock_guard lock(standing_mutex_);
      if (crew == standing_) {
        standing_is_taken_ = false;
        return;
      }
    }
    dismiss(crew);
  }

  // Whether a call that could use threads ended so short a time ago that they spin still.
  bool is_awake() const {
    return Clock::now().time_since_epoch() - Clock::duration(last_call_) < kAwake;
  }
  void note_call() { last_call_ = Clock::now().time_since_epoch().count(); }

 private:
  static constexpr Clock::duration kAwake = std::chrono::microseconds(100);

  struct Place {
    std::shared_ptr<Crew> crew;
    int thread;
  };

  // With threads 1 to n_threads - 1, if the system gives so many.
  std::shared_ptr<Crew> make(int n_threads) {
    auto crew = std::make_shared<Crew>(n_threads);
    const std::lock_guard lock(mutex_);
    wanted_.reserve(wanted_.size() + static_cast<std::size_t>(n_threads));
    for (int thread = 1; thread < n_threads; ++thread) wanted_.push_back({crew, thread});
    start_threads();
    is_wanted_.notify_all();
    return crew;
  }

  // For all that is wanted.
  void start_threads() {
    try {
      for (; n_free_ < wanted_.size(); ++n_free_) std::thread([this] { work(); }).detach();
    } catch (const std::exception&) {
      // Fewer will do.
    }
  }

  // Those who have not come yet need not.
  void dismiss(const std::shared_ptr<Crew>& crew) {
    crew->close();
    const std::lock_guard lock(mutex_);
    wanted_.erase(std::remove_if(wanted_.begin(), wanted_.end(),
                                 [&](const Place& place) { return place.crew == crew; }),
                  wanted_.end());
  }

  void work() {
    in_region = true;
    const DefaultFloatMode mode;  // and not that of who made the thread
    std::unique_lock lock(mutex_);
    for (;;) {
      is_wanted_.wait(lock, [&] { return !wanted_.empty(); });
      Place place = std::move(wanted_.back());
      wanted_.pop_back();
      --n_free_;
      lock.unlock();
      place.crew->serve(place.thread);
      place.crew.reset();
      lock.lock();
      ++n_free_;
    }
  }

  static inline std::atomic<Pool*> instance_{nullptr};
  std::mutex standing_mutex_;
  std::shared_ptr<Crew> standing_;
  bool standing_is_taken_ = false;
  std::atomic<Clock::rep> last_call_{0};
  std::mutex mutex_;
  std::condition_variable is_wanted_;
  std::vector<Place> wanted_;
  std::size_t n_free_ = 0;
};

// A crew in the calling thread's hand.
class Loan {
 public:
  Loan(std::shared_ptr<Crew> crew, int n_threads) : crew_(std::move(crew)) {
    at_hand = {crew_.get(), n_threads};
  }
  ~Loan() {
    at_hand = {};
    Pool::instance().give_back(crew_);
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;

 private:
  const std::shared_ptr<Crew> crew_;
};

}  // namespace

bool run_on_crew(int n_threads, const Body& body) {
  if (!at_hand.crew) return false;
  const int n_running = std::min(n_threads, at_hand.n_threads);
  at_hand.crew->run(n_running, body);
  return true;
}

void with_crew(int n_threads, const std::function<void()>& body) {
  if (n_threads < 2 || at_hand.crew || must_run_serially()) return body();
  const Loan loan(Pool::instance().take(n_threads), n_threads);
  body();
}

void call_on_threads(int n_requested, double work_ns, const std::function<void(int)>& call) {
  const int n_threads = plan_threads(n_requested, work_ns);
  if (n_threads < 2 || at_hand.crew) return call(n_threads);
  Pool& pool = Pool::instance();
  struct Note {
    Pool& pool;
    ~Note() { pool.note_call(); }
  } const note{pool};
  // To wake a thread takes some 5 microseconds, and it comes some 40 later.
  constexpr double kWorthWakingNs = 25e3;
  const int n_asleep = static_cast<int>(std::min<double>(n_threads, work_ns / kWorthWakingNs));
  const int n = pool.is_awake() ? n_threads : n_asleep;
  if (n < 2) return call(1);
  std::shared_ptr<Crew> crew = pool.take_standing(n);
  if (!crew) return call(std::max(1, n_asleep));
  const Loan loan(std::move(crew), n);
  call(n);
}

}  // namespace fastsoftmax
