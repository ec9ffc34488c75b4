#include "devices/virtio_pci.h"

#include <stdexcept>

namespace understudy::devices {

namespace {

// Device status (section 2.1).
constexpr uint8_t kDriverOk = 0x04, kFeaturesOk = 0x08, kNeedsReset = 0x40, kFailed = 0x80;
constexpr uint8_t kDriverBits = 0x0f | kFailed;
// ISR status (section 4.1.4.5).
constexpr uint8_t kIsrQueue = 1, kIsrConfig = 2;
constexpr uint16_t kNoVector = 0xffff;

// Legacy registers in BAR 0 (section 4.1.4.10), the device's own configuration behind them.
constexpr unsigned kLegacyBar = 0, kLegacyBytes = 64;
enum Legacy : unsigned {
  kLegacyDeviceFeatures = 0,
  kLegacyDriverFeatures = 4,
  kLegacyQueueAddress = 8,
  kLegacyQueueSize = 12,
  kLegacyQueueSelect = 14,
  kLegacyQueueNotify = 16,
  kLegacyStatus = 18,
  kLegacyIsr = 19,
  kLegacyConfig = 20
};

// Modern structures in BAR 4, one a page.
constexpr unsigned kModernBar = 4, kModernBytes = 0x4000, kStructureBytes = 0x1000;
enum Structure : unsigned { kCommon, kIsr, kDevice, kNotify };
constexpr unsigned kNotifyMultiplier = 4;

// The common configuration structure (section 4.1.4.3).
enum Common : unsigned {
  kDeviceFeatureSelect = 0,
  kDeviceFeature = 4,
  kDriverFeatureSelect = 8,
  kDriverFeature = 12,
  kMsixConfig = 16,
  kNumQueues = 18,
  kStatus = 20,
  kGeneration = 21,
  kQueueSelect = 22,
  kQueueSize = 24,
  kQueueVector = 26,
  kQueueEnable = 28,
  kQueueNotifyOff = 30,
  kQueueDescriptors = 32,
  kQueueDriver = 40,
  kQueueDevice = 48,
  kCommonBytes = 56
};

// Capabilities in configuration space (section 4.1.4).
constexpr uint8_t kCapabilityPointer = 0x34;
constexpr uint8_t kVendorCapability = 0x09;
constexpr uint8_t kStatusCapabilities = 0x90;  // fast back-to-back, and a list of capabilities
constexpr unsigned kPciCfg = 0x84, kPciCfgBar = kPciCfg + 4, kPciCfgOffset = kPciCfg + 8, kPciCfgLength = kPciCfg + 12,
                   kPciCfgData = kPciCfg + 16;
enum CapabilityType : uint8_t { kCapCommon = 1, kCapNotify = 2, kCapIsr = 3, kCapDevice = 4, kCapPciCfg = 5 };

uint32_t half(uint64_t value, uint32_t select) {
  return select < 2 ? static_cast<uint32_t>(value >> (32 * select)) : 0;
}
void set_half(uint64_t& field, bool upper, uint32_t value) {
  const unsigned shift = upper ? 32 : 0;
  field = (field & ~(0xffffffffull << shift)) | static_cast<uint64_t>(value) << shift;
}

}  // namespace

VirtioPci::VirtioPci(std::string name, PciBus& bus, uint8_t devfn, emu::DmaMemory& dma, const Type& type)
    : PciDevice(bus, devfn,
                {.vendor = 0x1af4,
                 .device = type.pci_device,
                 .class_code = type.class_code,
                 .revision = 0,
                 .header_type = 0,
                 .interrupt_pin = 1}),
      name_(std::move(name)),
      features_(type.features | kVersion1),
      config_bytes_(type.config_bytes) {
  if (type.config_bytes > kMaxConfig) throw std::logic_error("virtio: the configuration does not fit");
  for (const uint16_t size : type.queue_sizes) queues_.emplace_back(dma, size);
  // Legacy drivers find the device type in the subsystem id.
  define32(0x2c, 0x1af4u | static_cast<uint32_t>(type.id) << 16, 0);
  add_io_bar(kLegacyBar, kLegacyBytes, 4);
  add_memory_bar(kModernBar, kModernBytes);
  define_capabilities();
}

void VirtioPci::define_capabilities() {
  define8(0x06, kStatusCapabilities, 0);
  const struct {
    uint8_t at;
    uint8_t next;
    uint8_t length;
    CapabilityType type;
    Structure structure;
    uint32_t bytes;
  } kList[] = {{0x40, 0x50, 16, kCapCommon, kCommon, kCommonBytes},
               {0x50, 0x60, 16, kCapIsr, kIsr, 1},
               {0x60, 0x70, 16, kCapDevice, kDevice, config_bytes_},
               {0x70, kPciCfg, 20, kCapNotify, kNotify, static_cast<uint32_t>(queues_.size()) * kNotifyMultiplier}};
  define8(kCapabilityPointer, kList[0].at, 0);
  for (const auto& cap : kList) {
    define32(cap.at, kVendorCapability | cap.next << 8 | cap.length << 16 | cap.type << 24, 0);
    define32(static_cast<uint8_t>(cap.at + 4), kModernBar, 0);
    define32(static_cast<uint8_t>(cap.at + 8), cap.structure * kStructureBytes, 0);
    define32(static_cast<uint8_t>(cap.at + 12), cap.bytes, 0);
    if (cap.type == kCapNotify) define32(static_cast<uint8_t>(cap.at + 16), kNotifyMultiplier, 0);
  }
  define32(kPciCfg, kVendorCapability | 20u << 16 | static_cast<uint32_t>(kCapPciCfg) << 24, 0);
  define32(kPciCfgBar, 0, 0xff);
  for (const unsigned field : {kPciCfgOffset, kPciCfgLength, kPciCfgData})
    define32(static_cast<uint8_t>(field), 0, 0xffffffff);
}

// --- life

void VirtioPci::reset() {
  PciDevice::reset();
  reset_device();
}

void VirtioPci::reset_device() {
  state_ = {};
  for (VirtQueue& queue : queues_) queue.reset();
  forget();
  set_intx(false);
}

bool VirtioPci::running() const { return (state_.status & (kDriverOk | kNeedsReset | kFailed)) == kDriverOk; }

void VirtioPci::write_status(uint8_t value) {
  if (value == 0) return reset_device();
  const bool was_running = running();
  uint8_t status = static_cast<uint8_t>((value & kDriverBits) | (state_.status & kNeedsReset));
  // Section 2.2.2: what was not offered cannot be agreed on; this device's modern interface needs VERSION_1.
  if ((status & kFeaturesOk) != 0 && (state_.status & kFeaturesOk) == 0 &&
      ((state_.driver_features & ~features_) != 0 || !negotiated(kVersion1)))
    status &= static_cast<uint8_t>(~kFeaturesOk);
  state_.status = status;
  // A driver may have filled its queues before.
  if (!was_running && running())
    for (unsigned i = 0; i < queues_.size(); ++i)
      if (queues_[i].enabled()) notified(i);
}

void VirtioPci::break_down() {
  state_.status |= kNeedsReset;
  forget();
  raise(kIsrConfig);
}

void VirtioPci::notify(uint32_t queue) {
  if (running() && queue < queues_.size() && queues_[queue].enabled()) notified(queue);
}

void VirtioPci::use(unsigned queue, uint16_t head, uint32_t written) {
  queues_[queue].push(head, written);
  if (queues_[queue].wants_interrupt()) raise(kIsrQueue);
}

void VirtioPci::raise(uint8_t cause) {
  state_.isr |= cause;
  set_intx(true);
}

uint8_t VirtioPci::take_isr() {
  const uint8_t value = state_.isr;
  state_.isr = 0;
  set_intx(false);
  return value;
}

// --- registers

uint64_t VirtioPci::window_read(unsigned index, uint64_t offset, unsigned size) {
  uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) {
    const auto at = static_cast<unsigned>(offset) + i;
    value |= static_cast<uint64_t>(index == kLegacyBar ? legacy_byte(at) : modern_byte(at)) << (8 * i);
  }
  return value;
}

void VirtioPci::window_write(unsigned index, uint64_t offset, unsigned size, uint64_t value) {
  const auto at = static_cast<unsigned>(offset);
  if (index == kLegacyBar) return legacy_write(at, size, static_cast<uint32_t>(value));
  modern_write(at, size == 8 ? 4 : size, static_cast<uint32_t>(value));
  if (size == 8) modern_write(at + 4, 4, static_cast<uint32_t>(value >> 32));
}

uint8_t VirtioPci::legacy_byte(unsigned offset) {
  if (offset == kLegacyIsr) return take_isr();
  if (offset >= kLegacyConfig) {
    const unsigned at = offset - kLegacyConfig;
    return at < config_bytes_ ? config_byte(at) : 0;
  }
  const VirtQueue* queue = selected();
  uint32_t value = state_.status;
  unsigned start = kLegacyStatus;
  if (offset < kLegacyDriverFeatures) {
    value = half(features_, 0);
    start = kLegacyDeviceFeatures;
  } else if (offset < kLegacyQueueAddress) {
    value = half(state_.driver_features, 0);
    start = kLegacyDriverFeatures;
  } else if (offset < kLegacyQueueSize) {
    value = queue != nullptr ? queue->legacy_frame() : 0;
    start = kLegacyQueueAddress;
  } else if (offset < kLegacyQueueSelect) {
    value = queue != nullptr ? queue->size() : 0;
    start = kLegacyQueueSize;
  } else if (offset < kLegacyQueueNotify) {
    value = state_.queue_select;
    start = kLegacyQueueSelect;
  } else if (offset < kLegacyStatus) {
    value = 0;
    start = kLegacyQueueNotify;
  }
  return static_cast<uint8_t>(value >> (8 * (offset - start)));
}

// Registers are written whole; anything else is nothing.
void VirtioPci::legacy_write(unsigned offset, unsigned size, uint32_t value) {
  if (offset >= kLegacyConfig) {
    for (unsigned i = 0; i < size; ++i)
      if (offset - kLegacyConfig + i < config_bytes_)
        config_byte_written(offset - kLegacyConfig + i, static_cast<uint8_t>(value >> (8 * i)));
    return;
  }
  if (offset == kLegacyDriverFeatures && size == 4) {
    state_.driver_features = value & features_;
  } else if (offset == kLegacyQueueAddress && size == 4) {
    // What is in flight belongs to tables that may be gone.
    forget();
    if (VirtQueue* queue = selected()) queue->place_legacy(value);
  } else if (offset == kLegacyQueueSelect && size == 2) {
    state_.queue_select = static_cast<uint16_t>(value);
  } else if (offset == kLegacyQueueNotify && size == 2) {
    notify(value);
  } else if (offset == kLegacyStatus && size == 1) {
    write_status(static_cast<uint8_t>(value));
  }
}

uint8_t VirtioPci::modern_byte(unsigned offset) {
  const unsigned at = offset % kStructureBytes;
  switch (offset / kStructureBytes) {
    case kCommon: {
      unsigned start = 0;
      const uint64_t field = common_field(at, start);
      return static_cast<uint8_t>(field >> (8 * (at - start)));
    }
    case kIsr:
      return at == 0 ? take_isr() : 0;
    case kDevice:
      return at < config_bytes_ ? config_byte(at) : 0;
    default:
      return 0;
  }
}

void VirtioPci::modern_write(unsigned offset, unsigned size, uint32_t value) {
  const unsigned at = offset % kStructureBytes;
  switch (offset / kStructureBytes) {
    case kCommon:
      return common_write(at, size, value);
    case kNotify:
      if (at % kNotifyMultiplier == 0) notify(at / kNotifyMultiplier);
      return;
    default:
      return;
  }
}

// The field that byte `offset` belongs to, and where it starts.
uint64_t VirtioPci::common_field(unsigned offset, unsigned& start) const {
  VirtQueue* queue = const_cast<VirtioPci*>(this)->selected();
  const auto field = [&start](unsigned at, uint64_t value) {
    start = at;
    return value;
  };
  if (offset < kDeviceFeature) return field(kDeviceFeatureSelect, state_.device_feature_select);
  if (offset < kDriverFeatureSelect) return field(kDeviceFeature, half(features_, state_.device_feature_select));
  if (offset < kDriverFeature) return field(kDriverFeatureSelect, state_.driver_feature_select);
  if (offset < kMsixConfig) return field(kDriverFeature, half(state_.driver_features, state_.driver_feature_select));
  if (offset < kNumQueues) return field(kMsixConfig, kNoVector);
  if (offset < kStatus) return field(kNumQueues, queues_.size());
  if (offset == kStatus) return field(kStatus, state_.status);
  if (offset == kGeneration) return field(kGeneration, 0);  // the configuration never changes by itself
  if (offset < kQueueSize) return field(kQueueSelect, state_.queue_select);
  if (queue == nullptr || offset >= kCommonBytes) return field(offset, 0);
  if (offset < kQueueVector) return field(kQueueSize, queue->size());
  if (offset < kQueueEnable) return field(kQueueVector, kNoVector);
  if (offset < kQueueNotifyOff) return field(kQueueEnable, queue->enabled() ? 1 : 0);
  if (offset < kQueueDescriptors) return field(kQueueNotifyOff, state_.queue_select);
  if (offset < kQueueDriver) return field(kQueueDescriptors, queue->descriptors());
  if (offset < kQueueDevice) return field(kQueueDriver, queue->driver_area());
  return field(kQueueDevice, queue->device_area());
}

// Fields are written whole, 64-bit ones by halves.
void VirtioPci::common_write(unsigned offset, unsigned size, uint32_t value) {
  VirtQueue* queue = selected();
  const bool configurable = queue != nullptr && !queue->enabled();
  if (size == 4) {
    switch (offset) {
      case kDeviceFeatureSelect:
        state_.device_feature_select = value;
        return;
      case kDriverFeatureSelect:
        state_.driver_feature_select = value;
        return;
      case kDriverFeature:
        if (state_.driver_feature_select < 2 && (state_.status & kFeaturesOk) == 0)
          set_half(state_.driver_features, state_.driver_feature_select == 1, value);
        return;
      case kQueueDescriptors:
      case kQueueDescriptors + 4:
        if (configurable) set_half(queue->descriptors(), offset != kQueueDescriptors, value);
        return;
      case kQueueDriver:
      case kQueueDriver + 4:
        if (configurable) set_half(queue->driver_area(), offset != kQueueDriver, value);
        return;
      case kQueueDevice:
      case kQueueDevice + 4:
        if (configurable) set_half(queue->device_area(), offset != kQueueDevice, value);
        return;
      default:
        return;
    }
  }
  if (size == 1 && offset == kStatus) return write_status(static_cast<uint8_t>(value));
  if (size != 2) return;
  if (offset == kQueueSelect) state_.queue_select = static_cast<uint16_t>(value);
  if (offset == kQueueSize && configurable) queue->set_size(static_cast<uint16_t>(value));
  if (offset == kQueueEnable && value == 1 && configurable) queue->enable();
}

// --- BAR 4 through configuration space

bool VirtioPci::pci_cfg_window(unsigned& offset, unsigned& length) const {
  offset = config32(kPciCfgOffset);
  length = config32(kPciCfgLength);
  return config8(kPciCfgBar) == kModernBar && (length == 1 || length == 2 || length == 4) && offset % length == 0 &&
         offset <= kModernBytes - length;
}

void VirtioPci::config_reading(unsigned offset, unsigned size) {
  unsigned at = 0, length = 0;
  if (offset + size <= kPciCfgData || offset >= kPciCfgData + 4 || !pci_cfg_window(at, length)) return;
  const uint64_t value = window_read(kModernBar, at, length);
  for (unsigned i = 0; i < length; ++i)
    set_config8(static_cast<uint8_t>(kPciCfgData + i), static_cast<uint8_t>(value >> (8 * i)));
}

void VirtioPci::config_written(unsigned offset, unsigned size) {
  unsigned at = 0, length = 0;
  if (offset + size <= kPciCfgData || offset >= kPciCfgData + 4 || !pci_cfg_window(at, length)) return;
  const uint32_t data = config32(kPciCfgData);
  window_write(kModernBar, at, length, length == 4 ? data : data & ((1u << (8 * length)) - 1));
}

void VirtioPci::visit_state(emu::StateVisitor& visitor) {
  PciDevice::visit_state(visitor);
  visitor.value("driver_features", state_.driver_features);
  visitor.value("device_feature_select", state_.device_feature_select);
  visitor.value("driver_feature_select", state_.driver_feature_select);
  visitor.value("queue_select", state_.queue_select);
  visitor.value("status", state_.status);
  visitor.value("isr", state_.isr);
  for (size_t i = 0; i < queues_.size(); ++i) {
    visitor.begin("queue" + std::to_string(i));
    queues_[i].visit_state(visitor);
    visitor.end();
  }
}

}  // namespace understudy::devices
