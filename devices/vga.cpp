#include "devices/vga.h"

#include <algorithm>
#include <stdexcept>

namespace understudy::devices {

namespace {
constexpr uint16_t kVbeIndex = 0x1ce;
constexpr uint16_t kVbeData = 0x1cf;

// Which bits the indexed registers keep; the others read as zero.
constexpr uint8_t kSequencerMask[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
constexpr uint8_t kGraphicsMask[16] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
constexpr uint8_t kAttributeMask[32] = {0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
                                        0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f};
constexpr unsigned kCrtcRegisters = 25;

// Mode 3 with 400 lines.
constexpr uint8_t kMode3Misc = 0x67;
constexpr uint8_t kMode3Sequencer[] = {0x03, 0x00, 0x03, 0x00, 0x02};
constexpr uint8_t kMode3Crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
                                  0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
constexpr uint8_t kMode3Graphics[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
constexpr uint8_t kMode3Attribute[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
                                       0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};

// CRTC registers.
constexpr unsigned kHorizontalDisplayEnd = 0x01;
constexpr unsigned kOverflow = 0x07;
constexpr unsigned kMaximumScanLine = 0x09;
constexpr unsigned kCursorStart = 0x0a;
constexpr unsigned kCursorEnd = 0x0b;
constexpr unsigned kStartHigh = 0x0c;
constexpr unsigned kCursorHigh = 0x0e;
constexpr unsigned kRetraceEnd = 0x11;  // bit 7 protects registers 0-7
constexpr unsigned kVerticalDisplayEnd = 0x12;
constexpr unsigned kOffset = 0x13;

constexpr unsigned kGraphicsMisc = 0x06;
constexpr unsigned kAttributeMode = 0x10;

// The 720 x 400 text modes: 449 lines of 900 pixels at 28.322 MHz.
constexpr uint64_t kLineNs = 31'778;
constexpr uint64_t kVisibleLineNs = kLineNs * 720 / 900;
constexpr uint64_t kLines = 449;
constexpr uint64_t kVisibleLines = 400;
constexpr uint64_t kRetraceFirst = 412;
constexpr uint64_t kRetraceLast = 413;
}  // namespace

Vga::Vga(const emu::Clock& clock, std::span<const uint8_t> video_memory) : clock_(clock), memory_(video_memory) {
  if (memory_.size() != kMemorySize) throw std::logic_error("vga: the video memory must have 128 KiB");
  reset();
}

void Vga::attach(emu::PortBus& ports) {
  ports.attach(0x3b0, 0x3bb, *this);
  ports.attach(0x3c0, 0x3df, *this);
  ports.attach(kVbeIndex, kVbeData, *this, 2);
}

void Vga::reset() {
  state_ = {};
  State& s = state_;
  s.misc_output = kMode3Misc;
  std::ranges::copy(kMode3Sequencer, s.sequencer.begin());
  std::ranges::copy(kMode3Crtc, s.crtc.begin());
  std::ranges::copy(kMode3Graphics, s.graphics.begin());
  std::ranges::copy(kMode3Attribute, s.attribute.begin());
  s.attribute_index = 0x20;
  // The 64 colours of the EGA: two bits for each of red, green and blue.
  for (unsigned i = 0; i < 64; ++i)
    for (unsigned component = 0; component < 3; ++component) {
      const unsigned bit = 2 - component;
      s.dac[i * 3 + component] = static_cast<uint8_t>((i >> bit & 1) * 42 + (i >> (bit + 3) & 1) * 21);
    }
}

void Vga::visit_state(emu::StateVisitor& visitor) {
  State& s = state_;
  visitor.value("misc_output", s.misc_output);
  visitor.value("feature_control", s.feature_control);
  visitor.value("enable", s.enable);
  visitor.value("sequencer_index", s.sequencer_index);
  visitor.value("sequencer", s.sequencer);
  visitor.value("graphics_index", s.graphics_index);
  visitor.value("graphics", s.graphics);
  visitor.value("crtc_index", s.crtc_index);
  visitor.value("crtc", s.crtc);
  visitor.value("attribute_index", s.attribute_index);
  visitor.value("attribute_data", s.attribute_data);
  visitor.value("attribute", s.attribute);
  visitor.value("dac_mask", s.dac_mask);
  visitor.value("dac_read_index", s.dac_read_index);
  visitor.value("dac_write_index", s.dac_write_index);
  visitor.value("dac_component", s.dac_component);
  visitor.value("dac_reading", s.dac_reading);
  visitor.value("dac", s.dac);
  visitor.value("vbe_index", s.vbe_index);
}

void Vga::state_loaded() {
  // A snapshot is not believed to be one of ours: this index is the only one that is not masked at its use.
  state_.dac_component %= 3;
}

// --- registers

// Bit 0: nothing is being displayed; bit 3: vertical retrace.
uint8_t Vga::input_status_1() const {
  const uint64_t now_ns = clock_.now_ns();
  const uint64_t line = now_ns / kLineNs % kLines;
  const bool visible = line < kVisibleLines && now_ns % kLineNs < kVisibleLineNs;
  const bool retrace = line >= kRetraceFirst && line <= kRetraceLast;
  return static_cast<uint8_t>((visible ? 0x00 : 0x01) | (retrace ? 0x08 : 0x00));
}

uint32_t Vga::port_read(uint16_t port, unsigned) {
  State& s = state_;
  if (port == kVbeIndex) return s.vbe_index;
  if (port == kVbeData) return 0xffff;
  if (port < 0x3c0 ? colour() : port >= 0x3d0 && !colour()) return 0xff;
  switch (port) {
    case 0x3c0:
      return s.attribute_data ? 0 : s.attribute_index;
    case 0x3c1:
      return s.attribute[s.attribute_index & 0x1f];
    case 0x3c2:
      return 0x10;  // a colour monitor answers the switch sense
    case 0x3c3:
      return s.enable;
    case 0x3c4:
      return s.sequencer_index;
    case 0x3c5:
      return s.sequencer[s.sequencer_index & 7];
    case 0x3c6:
      return s.dac_mask;
    case 0x3c7:
      return s.dac_reading ? 3 : 0;
    case 0x3c8:
      return s.dac_write_index;
    case 0x3c9:
      return read_dac();
    case 0x3ca:
      return s.feature_control;
    case 0x3cc:
      return s.misc_output;
    case 0x3ce:
      return s.graphics_index;
    case 0x3cf:
      return s.graphics[s.graphics_index & 15];
    case 0x3b4:
    case 0x3d4:
      return s.crtc_index;
    case 0x3b5:
    case 0x3d5:
      return s.crtc[s.crtc_index & 31];
    case 0x3ba:
    case 0x3da:
      s.attribute_data = false;
      return input_status_1();
    default:
      return 0xff;
  }
}

void Vga::port_write(uint16_t port, unsigned size, uint32_t value) {
  State& s = state_;
  if (port == kVbeIndex && size == 2) s.vbe_index = static_cast<uint16_t>(value);
  if (port <= kVbeData || (port < 0x3c0 ? colour() : port >= 0x3d0 && !colour())) return;
  const auto byte = static_cast<uint8_t>(value);
  switch (port) {
    case 0x3c0:
      write_attribute(byte);
      break;
    case 0x3c2:
      s.misc_output = byte & 0xef;
      break;
    case 0x3c3:
      s.enable = byte & 1;
      break;
    case 0x3c4:
      s.sequencer_index = byte & 7;
      break;
    case 0x3c5:
      s.sequencer[s.sequencer_index & 7] = byte & kSequencerMask[s.sequencer_index & 7];
      break;
    case 0x3c6:
      s.dac_mask = byte;
      break;
    case 0x3c7:
      s.dac_read_index = byte;
      s.dac_component = 0;
      s.dac_reading = true;
      break;
    case 0x3c8:
      s.dac_write_index = byte;
      s.dac_component = 0;
      s.dac_reading = false;
      break;
    case 0x3c9:
      write_dac(byte);
      break;
    case 0x3ce:
      s.graphics_index = byte & 15;
      break;
    case 0x3cf:
      s.graphics[s.graphics_index & 15] = byte & kGraphicsMask[s.graphics_index & 15];
      break;
    case 0x3b4:
    case 0x3d4:
      s.crtc_index = byte & 31;
      break;
    case 0x3b5:
    case 0x3d5:
      write_crtc(byte);
      break;
    case 0x3ba:
    case 0x3da:
      s.feature_control = byte & 0x0b;
      break;
  }
}

void Vga::write_attribute(uint8_t value) {
  State& s = state_;
  if (s.attribute_data)
    s.attribute[s.attribute_index & 0x1f] = value & kAttributeMask[s.attribute_index & 0x1f];
  else
    s.attribute_index = value & 0x3f;
  s.attribute_data = !s.attribute_data;
}

void Vga::write_crtc(uint8_t value) {
  State& s = state_;
  const unsigned index = s.crtc_index & 31;
  if (index >= kCrtcRegisters) return;
  if (index <= kOverflow && (s.crtc[kRetraceEnd] & 0x80) != 0) {
    // Only the line compare bit stays writable.
    if (index == kOverflow) s.crtc[kOverflow] = (s.crtc[kOverflow] & 0xef) | (value & 0x10);
    return;
  }
  s.crtc[index] = value;
}

uint8_t Vga::read_dac() {
  State& s = state_;
  const uint8_t value = s.dac[s.dac_read_index * 3u + s.dac_component];
  if (++s.dac_component == 3) {
    s.dac_component = 0;
    ++s.dac_read_index;
  }
  return value;
}

void Vga::write_dac(uint8_t value) {
  State& s = state_;
  s.dac[s.dac_write_index * 3u + s.dac_component] = value & 0x3f;
  if (++s.dac_component == 3) {
    s.dac_component = 0;
    ++s.dac_write_index;
  }
}

// --- the picture

bool Vga::graphics_mode() const {
  return (state_.graphics[kGraphicsMisc] & 1) != 0 && (state_.attribute[kAttributeMode] & 1) != 0;
}

TextScreen Vga::screen() const {
  const auto& crtc = state_.crtc;
  const unsigned overflow = crtc[kOverflow];
  const unsigned lines = (crtc[kVerticalDisplayEnd] | (overflow & 0x02) << 7 | (overflow & 0x40) << 3) + 1;
  const unsigned double_scan = (crtc[kMaximumScanLine] & 0x80) != 0 ? 2 : 1;
  const unsigned row_lines = ((crtc[kMaximumScanLine] & 0x1f) + 1u) * double_scan;

  TextScreen screen;
  screen.columns = std::min(crtc[kHorizontalDisplayEnd] + 1u, kMaxColumns);
  screen.rows = std::clamp(lines / row_lines, 1u, kMaxRows);
  screen.blink = (state_.attribute[kAttributeMode] & 0x08) != 0;

  // Cells are counted from the start of the window, 32 KiB of two-byte cells that repeat. The window is B8000 unless
  // the monochrome one is chosen: while a font is loaded the A0000 window is mapped, but B8000 is what is displayed.
  constexpr unsigned kCells = 0x4000;
  const bool mono = (state_.graphics[kGraphicsMisc] >> 2 & 3) == 2;
  const auto window = memory_.subspan(mono ? 0x10000 : 0x18000, kCells * 2);
  const unsigned start = static_cast<unsigned>(crtc[kStartHigh] << 8 | crtc[kStartHigh + 1]);
  const unsigned stride = crtc[kOffset] * 2u;
  screen.cells.reserve(size_t{screen.columns} * screen.rows);
  for (unsigned row = 0; row < screen.rows; ++row)
    for (unsigned column = 0; column < screen.columns; ++column) {
      const size_t cell = (start + row * stride + column) % kCells;
      screen.cells.push_back({window[cell * 2], window[cell * 2 + 1]});
    }

  const unsigned cursor = static_cast<unsigned>(crtc[kCursorHigh] << 8 | crtc[kCursorHigh + 1]);
  const unsigned from_start = (cursor - start) & 0xffff;
  const bool on = (crtc[kCursorStart] & 0x20) == 0 && (crtc[kCursorStart] & 0x1f) <= (crtc[kCursorEnd] & 0x1f);
  if (on && stride != 0 && from_start / stride < screen.rows && from_start % stride < screen.columns) {
    screen.cursor_visible = true;
    screen.cursor_row = from_start / stride;
    screen.cursor_column = from_start % stride;
  }
  return screen;
}

}  // namespace understudy::devices
