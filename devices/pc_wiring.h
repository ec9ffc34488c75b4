// How interrupts are wired on the board, in one place, because the ACPI, MP and firmware tables and the board itself
// must say the same. PCI INTx pins are swizzled onto the PIIX3's four PIRQs; a PIRQ reaches the ISA interrupt that the
// PIIX3's PIRQRC register names, and, as there, the I/O APIC's input of the same number.
#pragma once

#include <array>
#include <cstdint>

namespace understudy::devices::wiring {

inline constexpr unsigned kPciSlots = 32;
inline constexpr unsigned kPciPins = 4;  // INTA..INTD

// The PIRQ (0 = A) of a slot's pin (0 = INTA). Slot 1, the PIIX3 itself, is where the rotation starts.
constexpr unsigned pirq_of(unsigned slot, unsigned pin) { return (pin + slot + 3) % 4; }

// What firmware writes into PIRQRC[A:D] (PIIX3 configuration registers 60h..63h). A board that boots without firmware
// starts with these.
inline constexpr std::array<uint8_t, 4> kPirqRoute{10, 10, 11, 11};
// Level-triggered inputs: ELCR (ports 4D0h, 4D1h) bits and MADT overrides.
inline constexpr uint16_t kLevelIrqs = 1u << 5 | 1u << 9 | 1u << 10 | 1u << 11;

inline constexpr unsigned kSci = 9;
// The 8254's output is wired to input 2 of the I/O APIC, not 0 (input 0 takes the 8259's output).
inline constexpr unsigned kTimerGsi = 2;

inline constexpr uint32_t kLocalApic = 0xfee00000;
inline constexpr uint32_t kIoApic = 0xfec00000;
inline constexpr uint8_t kIoApicId = 0;
inline constexpr uint8_t kIoApicVersion = 0x11;

// The PIIX4 power management function: PMBASE as SeaBIOS programs it, and the function's own slot.
inline constexpr uint16_t kPmBase = 0x600;
inline constexpr uint16_t kSmbusBase = 0x700;
inline constexpr unsigned kPiixSlot = 1;

// Cards: the network card's slot, and the first virtio disk's.
inline constexpr unsigned kNicSlot = 3, kVirtioDiskSlot = 4;

// PCI memory as the host bridge passes it on: above every possible RAM, below the I/O APIC.
inline constexpr uint32_t kPciMemoryFirst = 0xc0000000;
inline constexpr uint32_t kPciMemoryLast = 0xfebfffff;

}  // namespace understudy::devices::wiring
