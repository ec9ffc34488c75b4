// The PC's DSDT body: \_S5, the PCI root with its windows and interrupt routing, the link devices over the PIIX3's
// PIRQRC registers, and the ISA devices that Linux binds by ACPI id. AML without the table header.
#pragma once

#include "devices/aml.h"

namespace understudy::devices {

aml::Bytes dsdt_body();

}  // namespace understudy::devices
