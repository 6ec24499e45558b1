internal import CRIModel
internal import Kernel
internal import PodRuntime
internal import SwiftProtobuf

/// Reads cgroups, /proc and the links of pods, and gives what they say as CRI's metrics.
struct PodMetrics: Sendable {
  let runtime: Runtime
  let figures: ResourceFigures
  private let hierarchy: CgroupHierarchy?

  /// Descriptors of one process that are counted; a process with more is counted as having so many.
  private static let descriptorsMax = 65_536
  /// Processes of one container that are looked at.
  private static let processesMax = 4096

  init(runtime: Runtime, figures: ResourceFigures) {
    self.runtime = runtime
    self.figures = figures
    hierarchy = try? CgroupHierarchy.discover()
  }

  func pods() async -> [CRIPodSandboxMetrics] {
    var messages: [CRIPodSandboxMetrics] = []
    let devices = Self.blockDevices()
    for sandbox in runtime.sandboxes.filter(\.isReady).sorted(by: { $0.id < $1.id }) {
      var message = CRIPodSandboxMetrics()
      message.podSandboxID = sandbox.id
      message.metrics = pod(sandbox, devices)
      for container in runtime.containers.sorted(by: { $0.id < $1.id }) where container.sandboxID == sandbox.id {
        guard case .running = container.phase else { continue }
        var inner = CRIContainerMetrics()
        inner.containerID = container.id
        inner.metrics = await self.container(container, sandbox, devices)
        message.containerMetrics.append(inner)
      }
      messages.append(message)
    }
    return messages
  }

  // MARK: One pod, one container

  private func pod(_ sandbox: SandboxSnapshot, _ devices: [String: String]) -> [CRIMetric] {
    let now = SystemClock.wallNanoseconds
    var values = group(sandbox.record.cgroupPath, devices).values
    if let link = sandbox.addresses.hostLink { values += Self.network(link) }
    values.append(GroupFigures.Value(name: .lastSeen, labels: [], value: UInt64(now / 1_000_000_000)))
    let labels = [
      sandbox.record.cgroupPath, "", "", "", sandbox.config.identity.name, sandbox.config.identity.namespace,
    ]
    return values.map { Self.metric($0, labels, now) }
  }

  private func container(
    _ container: ContainerSnapshot, _ sandbox: SandboxSnapshot, _ devices: [String: String]
  ) async -> [CRIMetric] {
    let now = SystemClock.wallNanoseconds
    let path = "\(sandbox.record.cgroupPath)/\(container.id)"
    var values = group(path, devices).values
    func add(_ name: MetricName, _ value: UInt64, _ labels: [String] = []) {
      values.append(GroupFigures.Value(name: name, labels: labels, value: value))
    }
    add(.lastSeen, UInt64(now / 1_000_000_000))
    add(.startTime, UInt64(max(0, container.startedAt) / 1_000_000_000))
    let resources = container.config.resources
    if resources.cpuShares > 0 { add(.cpuShares, UInt64(resources.cpuShares)) }
    let layer = await figures.container(container).writableLayer
    if let space = try? Files.space(layer.fsID.mountpoint) {
      let device = Self.device(of: layer.fsID.mountpoint, devices)
      add(.fileSystemUsage, layer.usedBytes.value, [device])
      add(.fileSystemLimit, space.totalBytes, [device])
      add(.totalInodes, space.totalInodes, [device])
      add(.freeInodes, space.freeInodes, [device])
    }
    values += await processes(path, container.pid, hasThreads: values.contains { $0.name == .threads })
    let labels = [
      path, container.id, container.config.image, container.config.name, sandbox.config.identity.name,
      sandbox.config.identity.namespace,
    ]
    return values.map { Self.metric($0, labels, now) }
  }

  private static func metric(_ value: GroupFigures.Value, _ labels: [String], _ now: Int64) -> CRIMetric {
    CRIMetric.with {
      $0.name = value.name.rawValue
      $0.timestamp = now
      $0.metricType = value.name.isCounter ? .counter : .gauge
      $0.labelValues = labels + value.labels
      $0.value.value = value.value
    }
  }

  // MARK: Reading

  private func group(_ path: String, _ devices: [String: String]) -> GroupFigures {
    var figures = GroupFigures(files: [:], devices: devices)
    guard let hierarchy, let checked = try? CgroupPath(path) else { return figures }
    let directory = hierarchy.group(checked).directory
    var names = GroupFigures.names
    if hierarchy.controllers.contains("hugetlb") {
      names += ((try? Directory(path: directory).list()) ?? []).map(\.name).filter { $0.hasPrefix("hugetlb.") }
    }
    for name in names {
      if let text = (try? Files.readText("\(directory)/\(name)")).flatMap({ $0 }) { figures.files[name] = text }
    }
    return figures
  }

  /// The kernel's "major:minor" to names of block devices.
  private static func blockDevices() -> [String: String] {
    var found: [String: String] = [:]
    for entry in (try? Directory(path: "/sys/block").list()) ?? [] {
      guard let number = (try? Files.readText("/sys/block/\(entry.name)/dev")).flatMap({ $0 }) else { continue }
      found[String(number.prefix { $0 != "\n" })] = "/dev/\(entry.name)"
    }
    return found
  }

  private static func device(of path: String, _ devices: [String: String]) -> String {
    guard let status = (try? Files.status(path, follow: true)).flatMap({ $0 }) else { return "" }
    let major = ((status.device >> 8) & 0xfff) | ((status.device >> 32) & 0xffff_f000)
    let minor = (status.device & 0xff) | ((status.device >> 12) & 0xffff_ff00)
    return devices["\(major):\(minor)"] ?? "\(major):\(minor)"
  }

  private static func network(_ hostLink: String) -> [GroupFigures.Value] {
    guard let link = LinkFigures.read(hostLink)?.seenFromPod else { return [] }
    let pairs: [(MetricName, UInt64)] = [
      (.receivedBytes, link.received.bytes), (.receiveErrors, link.received.errors),
      (.receiveDrops, link.received.drops), (.receivedPackets, link.received.packets), (.sentBytes, link.sent.bytes),
      (.sendErrors, link.sent.errors), (.sendDrops, link.sent.drops), (.sentPackets, link.sent.packets),
    ]
    return pairs.map { GroupFigures.Value(name: $0, labels: ["eth0"], value: $1) }
  }

  /// What only /proc tells: processes, threads, descriptors, sockets, resource limits.
  private func processes(_ path: String, _ first: Int32, hasThreads: Bool) async -> [GroupFigures.Value] {
    guard let hierarchy, let checked = try? CgroupPath(path) else { return [] }
    let group = hierarchy.group(checked)
    // Walks as many directories as the container has processes.
    return await onFreshThread {
      let all = (try? group.processes()) ?? []
      var (descriptors, sockets, threads) = (UInt64(0), UInt64(0), UInt64(0))
      for process in all.prefix(Self.processesMax) {
        for entry in ((try? Directory(path: "/proc/\(process)/fd").list()) ?? []).prefix(Self.descriptorsMax) {
          descriptors += 1
          if (try? Files.readLink("/proc/\(process)/fd/\(entry.name)"))?.hasPrefix("socket:") == true { sockets += 1 }
        }
        if !hasThreads { threads += UInt64((try? Directory(path: "/proc/\(process)/task").list())?.count ?? 0) }
      }
      func value(_ name: MetricName, _ number: UInt64, _ labels: [String] = []) -> GroupFigures.Value {
        GroupFigures.Value(name: name, labels: labels, value: number)
      }
      var values = [
        value(.processes, UInt64(all.count)), value(.fileDescriptors, descriptors), value(.sockets, sockets),
      ]
      if !hasThreads { values.append(value(.threads, threads)) }
      let limits = (try? Files.readText("/proc/\(first)/limits")).flatMap { $0 } ?? ""
      if let open = Self.softLimit("Max open files", in: limits) {
        values.append(value(.resourceLimits, open, ["max_open_files"]))
      }
      return values
    }
  }

  /// Of a line such as `Max open files            1024                 524288               files`.
  static func softLimit(_ name: String, in text: String) -> UInt64? {
    guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(name) }) else { return nil }
    return line.dropFirst(name.count).split(separator: " ").first.flatMap { UInt64($0) }
  }
}
