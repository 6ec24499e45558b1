internal import CRIModel
internal import SwiftProtobuf

/// The metrics of pods and containers, named and labelled as cAdvisor does, so that dashboards made for it go on working.
///
/// CRI's values are whole numbers: of seconds there are no fractions.
enum MetricName: String, CaseIterable, Sendable {
  case blockDeviceUsage = "container_blkio_device_usage_total"
  case cpuPeriods = "container_cpu_cfs_periods_total"
  case cpuThrottledPeriods = "container_cpu_cfs_throttled_periods_total"
  case cpuThrottledSeconds = "container_cpu_cfs_throttled_seconds_total"
  case cpuSystemSeconds = "container_cpu_system_seconds_total"
  case cpuSeconds = "container_cpu_usage_seconds_total"
  case cpuUserSeconds = "container_cpu_user_seconds_total"
  case fileDescriptors = "container_file_descriptors"
  case freeInodes = "container_fs_inodes_free"
  case totalInodes = "container_fs_inodes_total"
  case fileSystemLimit = "container_fs_limit_bytes"
  case readBytes = "container_fs_reads_bytes_total"
  case reads = "container_fs_reads_total"
  case fileSystemUsage = "container_fs_usage_bytes"
  case writtenBytes = "container_fs_writes_bytes_total"
  case writes = "container_fs_writes_total"
  case hugepagesUsage = "container_hugetlb_usage_bytes"
  case hugepagesMaximum = "container_hugetlb_max_usage_bytes"
  case lastSeen = "container_last_seen"
  case memoryCache = "container_memory_cache"
  case memoryFailures = "container_memory_failcnt"
  case pageFailures = "container_memory_failures_total"
  case memoryKernel = "container_memory_kernel_usage"
  case memoryMapped = "container_memory_mapped_file"
  case memoryMaximum = "container_memory_max_usage_bytes"
  case memoryResident = "container_memory_rss"
  case memorySwap = "container_memory_swap"
  case memoryUsage = "container_memory_usage_bytes"
  case memoryWorkingSet = "container_memory_working_set_bytes"
  case receivedBytes = "container_network_receive_bytes_total"
  case receiveErrors = "container_network_receive_errors_total"
  case receiveDrops = "container_network_receive_packets_dropped_total"
  case receivedPackets = "container_network_receive_packets_total"
  case sentBytes = "container_network_transmit_bytes_total"
  case sendErrors = "container_network_transmit_errors_total"
  case sendDrops = "container_network_transmit_packets_dropped_total"
  case sentPackets = "container_network_transmit_packets_total"
  case outOfMemory = "container_oom_events_total"
  case cpuStalled = "container_pressure_cpu_stalled_seconds_total"
  case cpuWaiting = "container_pressure_cpu_waiting_seconds_total"
  case ioStalled = "container_pressure_io_stalled_seconds_total"
  case ioWaiting = "container_pressure_io_waiting_seconds_total"
  case memoryStalled = "container_pressure_memory_stalled_seconds_total"
  case memoryWaiting = "container_pressure_memory_waiting_seconds_total"
  case processes = "container_processes"
  case sockets = "container_sockets"
  case cpuPeriod = "container_spec_cpu_period"
  case cpuQuota = "container_spec_cpu_quota"
  case cpuShares = "container_spec_cpu_shares"
  case memoryLimit = "container_spec_memory_limit_bytes"
  case memoryReservation = "container_spec_memory_reservation_limit_bytes"
  case memorySwapLimit = "container_spec_memory_swap_limit_bytes"
  case startTime = "container_start_time_seconds"
  case threads = "container_threads"
  case threadsMaximum = "container_threads_max"
  case resourceLimits = "container_ulimits_soft"

  /// Of every metric, before its own labels.
  static let commonLabels = ["id", "name", "image", "container", "pod", "namespace"]

  /// Beyond the common ones.
  var ownLabels: [String] {
    switch self {
    case .blockDeviceUsage: ["device", "major", "minor", "operation"]
    case .cpuSeconds: ["cpu"]
    case .freeInodes, .totalInodes, .fileSystemLimit, .fileSystemUsage, .readBytes, .reads, .writtenBytes, .writes:
      ["device"]
    case .hugepagesUsage, .hugepagesMaximum: ["pagesize"]
    case .pageFailures: ["failure_type", "scope"]
    case .receivedBytes, .receiveErrors, .receiveDrops, .receivedPackets, .sentBytes, .sendErrors, .sendDrops,
      .sentPackets:
      ["interface"]
    case .resourceLimits: ["ulimit"]
    default: []
    }
  }

  var isCounter: Bool { rawValue.hasSuffix("_total") || self == .memoryFailures }

  var descriptor: CRIMetricDescriptor {
    CRIMetricDescriptor.with {
      $0.name = rawValue
      $0.help = help
      $0.labelKeys = Self.commonLabels + ownLabels
    }
  }

  var help: String {
    switch self {
    case .blockDeviceUsage: "Bytes read from and written to block devices."
    case .cpuPeriods: "Enforcement periods of the CPU limit that have passed."
    case .cpuThrottledPeriods: "Enforcement periods in which the CPU limit was reached."
    case .cpuThrottledSeconds: "Time that tasks waited because the CPU limit was reached."
    case .cpuSystemSeconds: "CPU time used in the kernel."
    case .cpuSeconds: "CPU time used."
    case .cpuUserSeconds: "CPU time used outside the kernel."
    case .fileDescriptors: "Open file descriptors of all processes."
    case .freeInodes: "Free inodes of the file system of the writable layer."
    case .totalInodes: "Inodes of the file system of the writable layer."
    case .fileSystemLimit: "Size of the file system of the writable layer."
    case .readBytes: "Bytes read from disks."
    case .reads: "Reads that disks have completed."
    case .fileSystemUsage: "Bytes of the writable layer."
    case .writtenBytes: "Bytes written to disks."
    case .writes: "Writes that disks have completed."
    case .hugepagesUsage: "Huge pages in use, in bytes."
    case .hugepagesMaximum: "Most huge pages that were in use at a time, in bytes."
    case .lastSeen: "When these figures were read, seconds since 1970."
    case .memoryCache: "Memory of the page cache."
    case .memoryFailures: "Times that the memory limit was reached."
    case .pageFailures: "Page faults."
    case .memoryKernel: "Memory that the kernel uses for the tasks."
    case .memoryMapped: "Memory of mapped files."
    case .memoryMaximum: "Most memory that was in use at a time."
    case .memoryResident: "Anonymous memory."
    case .memorySwap: "Swap in use."
    case .memoryUsage: "Memory in use, with the page cache."
    case .memoryWorkingSet: "Memory in use, without file pages that may be dropped."
    case .receivedBytes: "Bytes received."
    case .receiveErrors: "Errors while receiving."
    case .receiveDrops: "Packets dropped while receiving."
    case .receivedPackets: "Packets received."
    case .sentBytes: "Bytes sent."
    case .sendErrors: "Errors while sending."
    case .sendDrops: "Packets dropped while sending."
    case .sentPackets: "Packets sent."
    case .outOfMemory: "Processes that the kernel killed for want of memory."
    case .cpuStalled: "Time in which no task went on for want of CPU."
    case .cpuWaiting: "Time in which some task waited for CPU."
    case .ioStalled: "Time in which no task went on for want of input and output."
    case .ioWaiting: "Time in which some task waited for input and output."
    case .memoryStalled: "Time in which no task went on for want of memory."
    case .memoryWaiting: "Time in which some task waited for memory."
    case .processes: "Processes."
    case .sockets: "Open sockets of all processes."
    case .cpuPeriod: "Length of an enforcement period of the CPU limit, microseconds."
    case .cpuQuota: "CPU time of each enforcement period, microseconds."
    case .cpuShares: "Share of CPU under contention."
    case .memoryLimit: "Memory limit; 0 is none."
    case .memoryReservation: "Memory that is kept from reclaim; 0 is none."
    case .memorySwapLimit: "Limit of memory and swap together; 0 is none."
    case .startTime: "When the first process was started, seconds since 1970."
    case .threads: "Threads."
    case .threadsMaximum: "Limit of threads; 0 is none."
    case .resourceLimits:
      "Soft resource limits of the first process; -1 is none and cannot be said here, so it is left out."
    }
  }
}
