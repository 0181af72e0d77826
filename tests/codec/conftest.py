"""Read-outs of our own making: every field has a value of its own, no card printed them."""

from __future__ import annotations

import pytest

_AMPERE = """\
\t<gpu id="00000000:1A:00.0">
\t\t<product_name>NVIDIA A100-SXM4-80GB</product_name>
\t\t<product_brand>NVIDIA</product_brand>
\t\t<product_architecture>Ampere</product_architecture>
\t\t<display_active>Disabled</display_active>
\t\t<persistence_mode>Enabled</persistence_mode>
\t\t<mig_mode><current_mig>Enabled</current_mig><pending_mig>Disabled</pending_mig></mig_mode>
\t\t<mig_devices>
\t\t\t<mig_device><index>0</index>
\t\t\t\t<fb_memory_usage><total>19968 MiB</total><reserved>1 MiB</reserved></fb_memory_usage>
\t\t\t\t<ecc_errors><volatile><sram_correctable>901</sram_correctable></volatile></ecc_errors>
\t\t\t</mig_device>
\t\t\t<mig_device><index>1</index></mig_device>
\t\t</mig_devices>
\t\t<driver_model><current_dm>N/A</current_dm></driver_model>
\t\t<serial>1324021033417</serial>
\t\t<uuid>GPU-8d3c1f52-7a64-4e0b-9c15-2f6b7a90e1d4</uuid>
\t\t<pdi>0x9f3c21d47a6b5e08</pdi>
\t\t<minor_number>3</minor_number>
\t\t<vbios_version>92.00.9e.00.02</vbios_version>
\t\t<multigpu_board>No</multigpu_board>
\t\t<board_id>0x1A00</board_id>
\t\t<board_part_number>692-2G506-0212-002</board_part_number>
\t\t<gpu_part_number>20B2-895-A1</gpu_part_number>
\t\t<gpu_fru_part_number>N/A</gpu_fru_part_number>
\t\t<platformInfo><slot_number>5</slot_number><tray_index>6</tray_index><host_id>7</host_id>
\t\t\t<peer_type>None</peer_type><module_id>4</module_id></platformInfo>
\t\t<inforom_version><img_version>G506.0212.00.01</img_version><oem_object>2.1</oem_object>
\t\t\t<ecc_object>6.16</ecc_object><pwr_object>N/A</pwr_object></inforom_version>
\t\t<inforom_bbx_flush><latest_timestamp>2031/02/03 04:05:06.789</latest_timestamp></inforom_bbx_flush>
\t\t<gpu_virtualization_mode><virtualization_mode>Pass-Through</virtualization_mode></gpu_virtualization_mode>
\t\t<vgpu_software_licensed_product><licensed_product_name>NVIDIA RTX Virtual Workstation</licensed_product_name>
\t\t\t<product_name>NVIDIA RTX Virtual Workstation</product_name></vgpu_software_licensed_product>
\t\t<gpu_reset_status><reset_required>Yes</reset_required></gpu_reset_status>
\t\t<gpu_recovery_action>None</gpu_recovery_action>
\t\t<gsp_firmware_version>550.54.15</gsp_firmware_version>
\t\t<pci><pci_bus>1A</pci_bus><pci_base_class>3</pci_base_class><pci_sub_class>2</pci_sub_class>
\t\t\t<pci_device_id>20B210DE</pci_device_id><pci_bus_id>00000000:1A:00.0</pci_bus_id>
\t\t\t<pci_sub_system_id>147F10DE</pci_sub_system_id>
\t\t\t<pci_gpu_link_info>
\t\t\t\t<pcie_gen><max_link_gen>4</max_link_gen><current_link_gen>3</current_link_gen>
\t\t\t\t\t<max_device_link_gen>5</max_device_link_gen></pcie_gen>
\t\t\t\t<link_widths><max_link_width>16x</max_link_width><current_link_width>8x</current_link_width></link_widths>
\t\t\t</pci_gpu_link_info>
\t\t\t<replay_counter>11</replay_counter></pci>
\t\t<fan_speed>N/A</fan_speed>
\t\t<clocks_event_reasons>
\t\t\t<clocks_event_reason_gpu_idle>Active</clocks_event_reason_gpu_idle>
\t\t\t<clocks_event_reason_sw_power_cap>Not Active</clocks_event_reason_sw_power_cap>
\t\t\t<clocks_event_reason_hw_slowdown>Active</clocks_event_reason_hw_slowdown>
\t\t</clocks_event_reasons>
\t\t<fb_memory_usage><total>81920 MiB</total><reserved>869 MiB</reserved><used>42 MiB</used><free>1 MiB</free></fb_memory_usage>
\t\t<bar1_memory_usage><total>131072 MiB</total></bar1_memory_usage>
\t\t<ecc_mode><current_ecc>Enabled</current_ecc><pending_ecc>Disabled</pending_ecc></ecc_mode>
\t\t<ecc_errors>
\t\t\t<volatile><sram_correctable>12</sram_correctable><sram_uncorrectable_parity>13</sram_uncorrectable_parity>
\t\t\t\t<sram_uncorrectable_secded>14</sram_uncorrectable_secded><dram_correctable>15</dram_correctable>
\t\t\t\t<dram_uncorrectable>16</dram_uncorrectable></volatile>
\t\t\t<aggregate><sram_correctable>17</sram_correctable><sram_uncorrectable>18</sram_uncorrectable>
\t\t\t\t<dram_correctable>19</dram_correctable><dram_uncorrectable>20</dram_uncorrectable>
\t\t\t\t<sram_threshold_exceeded>No</sram_threshold_exceeded></aggregate>
\t\t\t<channel_repair_pending>Yes</channel_repair_pending><tpc_repair_pending>No</tpc_repair_pending>
\t\t</ecc_errors>
\t\t<retired_pages><multiple_single_bit_retirement><retired_count>N/A</retired_count></multiple_single_bit_retirement></retired_pages>
\t\t<remapped_rows><remapped_row_corr>21</remapped_row_corr><remapped_row_unc>22</remapped_row_unc>
\t\t\t<remapped_row_pending>Yes</remapped_row_pending><remapped_row_failure>No</remapped_row_failure>
\t\t\t<row_remapper_histogram>
\t\t\t\t<row_remapper_histogram_max>630 bank(s)</row_remapper_histogram_max>
\t\t\t\t<row_remapper_histogram_high>4 bank(s)</row_remapper_histogram_high>
\t\t\t\t<row_remapper_histogram_partial>3 bank(s)</row_remapper_histogram_partial>
\t\t\t\t<row_remapper_histogram_low>2 bank(s)</row_remapper_histogram_low>
\t\t\t\t<row_remapper_histogram_none>1 bank(s)</row_remapper_histogram_none>
\t\t\t</row_remapper_histogram></remapped_rows>
\t\t<temperature><gpu_temp>31 C</gpu_temp><memory_temp>-2 C</memory_temp></temperature>
\t\t<gpu_power_readings><average_power_draw>N/A</average_power_draw><instant_power_draw>61.07 W</instant_power_draw>
\t\t\t<current_power_limit>410.00 W</current_power_limit><default_power_limit>400.50 W</default_power_limit>
\t\t\t<min_power_limit>100.00 W</min_power_limit><max_power_limit>420 W</max_power_limit></gpu_power_readings>
\t\t<module_power_readings><default_power_limit>999.00 W</default_power_limit></module_power_readings>
\t\t<clocks><mem_clock>77 MHz</mem_clock></clocks>
\t\t<max_clocks><graphics_clock>1411 MHz</graphics_clock><sm_clock>1410 MHz</sm_clock>
\t\t\t<mem_clock>1593 MHz</mem_clock><video_clock>1290 MHz</video_clock></max_clocks>
\t\t<supported_clocks>
\t\t\t<supported_mem_clock><value>1215 MHz</value><supported_graphics_clock>1410 MHz</supported_graphics_clock></supported_mem_clock>
\t\t\t<supported_mem_clock><value>1594 MHz</value><supported_graphics_clock>1410 MHz</supported_graphics_clock></supported_mem_clock>
\t\t</supported_clocks>
\t\t<processes>
\t\t\t<process_info><pid>1</pid><type>C</type></process_info>
\t\t\t<process_info><pid>2</pid><type>G</type></process_info>
\t\t\t<process_info><pid>3</pid><type>C+G</type></process_info>
\t\t</processes>
\t</gpu>
"""

_VOLTA = """\
\t<gpu id="0000:3B:00.0">
\t\t<product_name>Tesla V100-SXM2-32GB</product_name>
\t\t<mig_devices>
\t\t\tNone
\t\t</mig_devices>
\t\t<serial>0323418005519</serial>
\t\t<uuid>GPU-1b7e44c2-90a3-4d5f-8e61-c03a5d2f7b98</uuid>
\t\t<gpu_part_number>900-2G503-0010-000</gpu_part_number>
\t\t<pci><pci_device_id>1DB510DE</pci_device_id><pci_sub_system_id>124910DE</pci_sub_system_id></pci>
\t\t<fb_memory_usage><total>32510 MiB</total></fb_memory_usage>
\t\t<ecc_errors>
\t\t\t<aggregate><single_bit><device_memory>31</device_memory><total>32</total></single_bit>
\t\t\t\t<double_bit><device_memory>33</device_memory><total>34</total></double_bit></aggregate>
\t\t</ecc_errors>
\t\t<retired_pages>
\t\t\t<multiple_single_bit_retirement><retired_count>2</retired_count><retired_pagelist></retired_pagelist></multiple_single_bit_retirement>
\t\t\t<double_bit_retirement><retired_count>3</retired_count>
\t\t\t\t<retired_pagelist>
\t\t\t\t\t<retired_page><retired_page_address>0x1</retired_page_address>
\t\t\t\t\t\t<retired_page_timestamp>Mon Aug 26 15:32:43 2030</retired_page_timestamp></retired_page>
\t\t\t\t\t<retired_page><retired_page_address>0x2</retired_page_address>
\t\t\t\t\t\t<retired_page_timestamp>Thu Jan  3 01:02:03 2030</retired_page_timestamp></retired_page>
\t\t\t\t</retired_pagelist></double_bit_retirement>
\t\t\t<pending_blacklist>N/A</pending_blacklist><pending_retirement>Yes</pending_retirement>
\t\t</retired_pages>
\t\t<remapped_rows>N/A</remapped_rows>
\t\t<power_readings><power_draw>41.50 W</power_draw><power_limit>290.00 W</power_limit>
\t\t\t<default_power_limit>300.00 W</default_power_limit><enforced_power_limit>289.00 W</enforced_power_limit></power_readings>
\t\t<processes></processes>
\t</gpu>
"""

_XML = f"""\
<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
\t<timestamp>Sat Feb  1 10:11:12 2031</timestamp>
\t<driver_version>550.54.15</driver_version>
\t<cuda_version>12.4</cuda_version>
\t<attached_gpus>2</attached_gpus>
{_AMPERE}{_VOLTA}</nvidia_smi_log>
"""

_TEXT = """\

==============NVSMI LOG==============

Timestamp                                 : Sat Feb  1 10:11:12 2031
Driver Version                            : 550.54.15
CUDA Version                              : 12.4

Attached GPUs                             : 2
GPU 00000000:1A:00.0
    Product Name                          : NVIDIA A100-SXM4-80GB
    Product Architecture                  : Ampere
    Persistence Mode                      : Enabled
    MIG Mode
        Current                           : Enabled
        Pending                           : Disabled
    MIG Device
        Index                             : 0
        FB Memory Usage
            Total                         : 19968 MiB
    MIG Device
        Index                             : 1
    Serial Number                         : 1324021033417
    GPU UUID                              : GPU-8d3c1f52-7a64-4e0b-9c15-2f6b7a90e1d4
    VBIOS Version                         : 92.00.9e.00.02
    Board Part Number                     : 692-2G506-0212-002
    GPU Part Number                       : 20B2-895-A1
    Inforom Version
        Image Version                     : G506.0212.00.01
        Power Management Object           : N/A
    GPU Virtualization Mode
        Virtualization Mode               : None
    vGPU Software Licensed Product
        Product Name                      : NVIDIA RTX Virtual Workstation
    GPU Recovery Action                   : Drain and Reset
    PCI
        Base Classcode                    : 0x3
        Sub Classcode                     : 0x2
        Device Id                         : 0x20B210DE
        Bus Id                            : 00000000:1A:00.0
        Sub System Id                     : 0x147F10DE
        GPU Link Info
            PCIe Generation
                Max                       : 4
                Current                   : 3
                Device Max                : 5
            Link Width
                Max                       : 16x
                Current                   : 8x
        Replays Since Reset               : 11
    Fan Speed                             : 30 %
    Clocks Event Reasons
        Idle                              : Not Active
        SW Power Cap                      : Active
    FB Memory Usage
        Total                             : 81920 MiB
        Reserved                          : 869 MiB
        Used                              : 42 MiB
    BAR1 Memory Usage
        Total                             : 131072 MiB
    ECC Mode
        Current                           : Enabled
        Pending                           : Disabled
    ECC Errors
        Volatile
            SRAM Uncorrectable SEC-DED    : 14
            DRAM Correctable              : 15
        Aggregate
            DRAM Uncorrectable            : 20
            SRAM Threshold Exceeded       : Yes
    Retired Pages
        Single Bit ECC                    : N/A
        Double Bit ECC                    : 5
        Pending Page Blacklist            : No
    Remapped Rows
        Correctable Error                 : 21
        Uncorrectable Error               : 22
        Pending                           : Yes
        Remapping Failure Occurred        : No
        Bank Remap Availability Histogram
            Max                           : 630 bank(s)
            None                          : 1 bank(s)
    GPU Power Readings
        Average Power Draw                : 61.07 W
        Current Power Limit               : 410.00 W
        Default Power Limit               : 400.50 W
    Module Power Readings
        Default Power Limit               : 999.00 W
    Max Clocks
        Graphics                          : 1411 MHz
        Memory                            : 1593 MHz
    Processes
        GPU instance ID                   : N/A
        Process ID                        : 41
            Type                          : C
            Name                          : python
        Process ID                        : 42
            Type                          : G

GPU 00000000:3B:00.0
    Product Name                          : Tesla V100-SXM2-32GB
    Remapped Rows                         : N/A
    Processes                             : None

"""


@pytest.fixture
def sample_xml() -> str:
    """A two-GPU document with MIG slices, both ECC layouts and retired pages with dates."""
    return _XML


@pytest.fixture
def sample_text() -> str:
    """A two-GPU text log at column 42."""
    return _TEXT
