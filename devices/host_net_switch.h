// An Ethernet switch: ports, and a table of which station was last heard at which port (IEEE 802.1D, clause 7, without
// the spanning tree). A frame goes to the port of its destination, or to every other port when that is a group or not
// known. Time is the caller's, in any unit that grows; nothing here asks a clock or has a thread, and one thread at a
// time uses it. Stations are the ports' to invent, so the table is bounded: a new one takes the place of the one that
// has been silent longest, and a port can hold no more than its share.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <span>
#include <vector>

namespace understudy::devices {

class HostNetSwitch {
 public:
  using Port = unsigned;
  using Station = std::array<uint8_t, 6>;
  // Takes a frame that leaves through a port. May attach and detach ports, but not pass frames on.
  using Output = std::function<void(std::span<const uint8_t>)>;

  struct Limits {  // each at least 1
    size_t stations = 1024;
    size_t stations_per_port = 256;
    uint64_t max_age = 300'000'000'000;  // the standard's 300 s, for nanoseconds
  };
  struct Counts {
    uint64_t forwarded = 0;  // to one port
    uint64_t flooded = 0;
    uint64_t filtered = 0;  // for a station at the port that the frame came from
    uint64_t bad = 0;       // no frame, or from a group address, or reserved for the link itself
    uint64_t moved = 0;     // stations heard at another port than before
    uint64_t evicted = 0;   // stations forgotten for want of room
  };

  HostNetSwitch() : HostNetSwitch(Limits{}) {}
  explicit HostNetSwitch(const Limits& limits);

  // Port numbers are never used again.
  Port attach(Output output);
  // Forgets the port and its stations; of no effect for a port that is gone.
  void detach(Port port);
  // A frame that came in through `port` at time `now`, which never goes back. Of no effect for a port that is gone.
  void receive(Port port, std::span<const uint8_t> frame, uint64_t now);
  // Where a station is; nullptr when it was not heard since `now` - max_age.
  const Port* find(const Station& station, uint64_t now) const;

  size_t stations() const { return table_.size(); }
  size_t ports() const { return ports_.size(); }
  const Counts& counts() const { return counts_; }

 private:
  struct Entry {
    Station station;
    Port port;
    uint64_t heard;
  };
  using Order = std::list<Entry>;
  struct PortState {
    Output output;
    size_t stations = 0;
  };
  void learn(const Station& station, Port port, uint64_t now);
  void forget(Order::iterator entry);
  void expire(uint64_t now);
  void flood(Port from, std::span<const uint8_t> frame);

  Limits limits_;
  std::map<Port, PortState> ports_;
  Port next_port_ = 0;
  Order by_age_;  // the one silent longest first
  std::map<Station, Order::iterator> table_;
  Counts counts_;
};

}  // namespace understudy::devices
