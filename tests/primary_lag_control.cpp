// Lag control against simulated backups: how far they stay behind, how fast the primary goes, and how evenly.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "primary/lag_control.h"

using understudy::primary::LagControl;

namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMs;
constexpr uint64_t kBound = 100 * kMs;

// A primary and its backup in a host's time of its own, in steps of 100 microseconds.
struct Simulation {
  // Nanoseconds of work per nanosecond of the host.
  double primary_speed = 1;
  std::function<double(uint64_t now)> backup_speed = [](uint64_t) { return 1.0; };
  uint64_t slice_ns = kMs;  // of work
  uint64_t latency_ns = kMs / 2, report_every_ns = kMs;
  LagControl control;

  uint64_t now = 0;
  double primary = 0, backup = 0;
  uint64_t most_lag = 0;
  bool stalled = false;
  // Over each tenth of a second.
  std::vector<double> speeds, backup_speeds;

  void run(uint64_t host_ns) {
    most_lag = 0;
    speeds.clear();
    backup_speeds.clear();
    const uint64_t end = now + host_ns;
    double window_began_at = primary, backup_began_at = backup;
    for (uint64_t window_end = now + kSecond / 10; now < end; step()) {
      if (now < window_end) continue;
      speeds.push_back((primary - window_began_at) / (kSecond / 10));
      backup_speeds.push_back((backup - backup_began_at) / (kSecond / 10));
      window_began_at = primary;
      backup_began_at = backup;
      window_end += kSecond / 10;
    }
  }
  double speed() const { return mean(speeds); }
  static double mean(const std::vector<double>& values) {
    double sum = 0;
    for (const double each : values) sum += each;
    return sum / static_cast<double>(values.size());
  }
  // The mean deviation from the mean, as a part of it.
  static double unevenness(const std::vector<double>& values) {
    double sum = 0;
    for (const double each : values) sum += std::abs(each - mean(values));
    return sum / static_cast<double>(values.size()) / mean(values);
  }
  double settled_lag_ms() const { return (primary - backup) / kMs; }

 private:
  struct Sent {
    uint64_t arrives;
    double position;
  };
  static constexpr uint64_t kStep = kMs / 10;
  void step() {
    if (now >= ready_at_) {
      // Between slices, or woken.
      primary += std::exchange(running_, 0);
      const uint64_t wait = control.wait_ns(position(primary), position(reported_), now);
      CHECK_MESSAGE(wait <= kSecond, wait);
      stalled = control.stalled();
      if (wait == 0) {
        running_ = static_cast<double>(slice_ns);
        ready_at_ = now + static_cast<uint64_t>(running_ / primary_speed);
      } else {
        ready_at_ = now + wait;
      }
      to_backup_.push_back({now + latency_ns, primary});
    }
    now += kStep;
    while (!to_backup_.empty() && to_backup_.front().arrives <= now) {
      received_ = to_backup_.front().position;
      to_backup_.pop_front();
    }
    backup = std::min(received_, backup + backup_speed(now) * kStep);
    if (now >= report_at_) {
      to_primary_.push_back({now + latency_ns, backup});
      report_at_ = now + report_every_ns;
    }
    while (!to_primary_.empty() && to_primary_.front().arrives <= now) {
      reported_ = to_primary_.front().position;
      to_primary_.pop_front();
    }
    most_lag = std::max(most_lag, static_cast<uint64_t>(primary - backup));
  }
  static LagControl::Position position(double at) {
    const auto ns = static_cast<uint64_t>(at);
    return {ns / 4, ns, ns};
  }
  uint64_t ready_at_ = 0, report_at_ = 0;
  double running_ = 0, received_ = 0, reported_ = 0;
  std::deque<Sent> to_backup_, to_primary_;
};

}  // namespace

TEST_CASE("a backup that keeps up costs nothing") {
  for (const double backup : {1.0, 1.2, 5.0}) {
    CAPTURE(backup);
    Simulation simulation;
    simulation.backup_speed = [backup](uint64_t) { return backup; };
    simulation.run(10 * kSecond);
    CHECK(simulation.speed() > 0.999);
    CHECK(simulation.most_lag < 5 * kMs);
    CHECK_FALSE(simulation.stalled);
  }
}

TEST_CASE("lag below half of the bound is left alone, and at the bound nothing runs") {
  LagControl control(kBound);
  uint64_t host = 0;
  // A backup at the primary's speed, always 49 ms behind.
  for (uint64_t at = 49 * kMs; at < 2 * kSecond; at += kMs, host += kMs)
    REQUIRE(control.wait_ns({at, at, at}, {at - 49 * kMs, at - 49 * kMs, at - 49 * kMs}, host) == 0);
  CHECK(control.lag_ns() == 49 * kMs);
  for (const uint64_t lag : {100, 101, 5000})
    CHECK(control.wait_ns({9 * kSecond, 9 * kSecond, 9 * kSecond},
                          {0, 9 * kSecond - lag * kMs, 9 * kSecond - lag * kMs}, host) > 0);
  CHECK(control.lag_ns() == 5 * kSecond);
}

TEST_CASE("a slow backup sets the pace, and lag settles at three quarters of the bound") {
  for (const double backup : {0.1, 0.3, 0.7, 0.95})
    for (const uint64_t slice : {kMs / 5, kMs, 5 * kMs})
      for (const uint64_t report : {kMs, 10 * kMs}) {
        CAPTURE(backup);
        CAPTURE(slice);
        CAPTURE(report);
        Simulation simulation;
        simulation.backup_speed = [backup](uint64_t) { return backup; };
        simulation.slice_ns = slice;
        simulation.report_every_ns = report;
        simulation.run(5 * kSecond);
        CHECK(simulation.most_lag < kBound);
        simulation.run(5 * kSecond);
        CHECK(simulation.most_lag < kBound);
        CHECK(simulation.settled_lag_ms() > 55);
        CHECK(simulation.settled_lag_ms() < 90);
        CHECK(simulation.speed() == doctest::Approx(backup).epsilon(0.02));
        // A slice more or less in a tenth of a second is what slices are.
        const double of_slices = static_cast<double>(slice) / (backup * kSecond / 10);
        CHECK(Simulation::unevenness(simulation.speeds) < 0.05 + of_slices);
        CHECK_FALSE(simulation.stalled);
      }
}

TEST_CASE("a primary that is far quicker goes at the backup's pace too") {
  Simulation simulation;
  simulation.primary_speed = 100;
  simulation.backup_speed = [](uint64_t) { return 20.0; };
  simulation.slice_ns = 10 * kMs;
  simulation.run(3 * kSecond);
  CHECK(simulation.most_lag < kBound);
  simulation.run(3 * kSecond);
  CHECK(simulation.most_lag < kBound);
  CHECK(simulation.speed() == doctest::Approx(20).epsilon(0.1));
}

TEST_CASE("a backup that stops holds the primary below the bound, is stalled in time, and is forgiven") {
  Simulation simulation;
  uint64_t stop = 2 * kSecond, go = 6 * kSecond;
  simulation.backup_speed = [&](uint64_t now) { return now >= stop && now < go ? 0.0 : 2.0; };
  simulation.run(stop);
  CHECK_FALSE(simulation.stalled);
  simulation.run(1'900 * kMs);
  CHECK_FALSE(simulation.stalled);
  const double held_at = simulation.primary;
  simulation.run(200 * kMs);
  CHECK(simulation.stalled);
  CHECK(simulation.primary == held_at);
  simulation.run(go - simulation.now);
  CHECK(simulation.stalled);
  CHECK(simulation.most_lag < kBound);
  simulation.run(kSecond);
  CHECK_FALSE(simulation.stalled);
  CHECK(simulation.most_lag < kBound);
  // As if nothing had been.
  simulation.run(kSecond);
  CHECK(simulation.speed() > 0.999);
}

TEST_CASE("a backup whose speed jitters: below the bound, at its mean speed, no less evenly") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    Simulation simulation;
    std::mt19937_64 random(seed);
    double speed = 1;
    uint64_t until = 0;
    double replayable = 0, time = 0;
    // Between standing still and three times its mean, anew every 1 to 30 ms.
    simulation.backup_speed = [&](uint64_t now) {
      if (now >= until) {
        until = now + kMs + random() % (30 * kMs);
        speed = 0.5 * (random() % 3 == 0 ? 0 : static_cast<double>(random() % 300) / 100);
      }
      replayable += speed;
      ++time;
      return speed;
    };
    simulation.run(2 * kSecond);
    CHECK(simulation.most_lag < kBound);
    replayable = time = 0;
    simulation.run(20 * kSecond);
    CHECK(simulation.most_lag < kBound);
    CHECK(simulation.speed() == doctest::Approx(replayable / time).epsilon(0.05));
    // What the backup does is passed on, and not enlarged.
    CHECK(Simulation::unevenness(simulation.speeds) < 1.1 * Simulation::unevenness(simulation.backup_speeds));
  }
}

TEST_CASE("reports that come late and seldom") {
  Simulation simulation;
  simulation.backup_speed = [](uint64_t) { return 0.3; };
  simulation.latency_ns = 30 * kMs;
  simulation.report_every_ns = 50 * kMs;
  simulation.run(5 * kSecond);
  CHECK(simulation.most_lag < kBound);
  simulation.run(10 * kSecond);
  CHECK(simulation.most_lag < kBound);
  CHECK(simulation.speed() == doctest::Approx(0.3).epsilon(0.05));
  CHECK(Simulation::unevenness(simulation.speeds) < 0.1);
}

TEST_CASE("a backup that is not behind never stalls, and neither does one during which nobody looked") {
  LagControl control(kBound, 2 * kSecond);
  for (uint64_t host = 0; host < 10 * kSecond; host += 10 * kMs)
    CHECK(control.wait_ns({5, 5, 5}, {5, 5, 5}, host) == 0);
  CHECK_FALSE(control.stalled());
  // A stopped process is continued after minutes.
  control.wait_ns({6, 6, 6}, {5, 5, 5}, 10 * kSecond);
  control.wait_ns({6, 6, 6}, {5, 5, 5}, 1000 * kSecond);
  CHECK_FALSE(control.stalled());
  for (uint64_t ms = 0; ms < 1'850; ms += 50) {
    CHECK_FALSE(control.stalled());
    control.wait_ns({6, 6, 6}, {5, 5, 5}, 1000 * kSecond + ms * kMs);
  }
  CHECK_FALSE(control.stalled());
  for (uint64_t ms = 1'850; ms < 2'050; ms += 50) control.wait_ns({6, 6, 6}, {5, 5, 5}, 1000 * kSecond + ms * kMs);
  CHECK(control.stalled());
  // Instructions alone are progress.
  control.wait_ns({6, 6, 6}, {6, 5, 5}, 1003 * kSecond);
  CHECK_FALSE(control.stalled());
  // And so is time, during which a guest only waits.
  for (uint64_t ms = 0; ms < 5'000; ms += 50)
    control.wait_ns({6, 9 * ms + 9, 6}, {6, 9 * ms, 5}, 1003 * kSecond + ms * kMs);
  CHECK_FALSE(control.stalled());
}

TEST_CASE("a slice longer than the bound does not stop the machine for ever") {
  LagControl control(kBound);
  uint64_t host = 0, at = 0;
  for (int i = 0; i < 100; ++i) {
    // The host gave its thread a second at once; the backup follows a little later.
    at += kSecond;
    host += kMs;
    CHECK(control.wait_ns({at, at, at}, {at - kSecond, at - kSecond, at - kSecond}, host) > 0);
    host += kMs;
    CHECK(control.wait_ns({at, at, at}, {at, at, at}, host) == 0);
  }
}

TEST_CASE("a backup that begins again further back, and clocks at their ends") {
  LagControl control(kBound);
  for (const uint64_t at : {uint64_t{0}, uint64_t{1} << 62, UINT64_MAX, uint64_t{7}, UINT64_MAX}) {
    CHECK(control.wait_ns({at, at, at}, {at, at, at}, 1000) == 0);
    CHECK(control.wait_ns({at, at, at}, {0, 0, 0}, 1000) <= kSecond);
    CHECK(control.wait_ns({0, 0, 0}, {at, at, at}, 1000) == 0);
  }
}
