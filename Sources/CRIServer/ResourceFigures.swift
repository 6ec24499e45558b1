internal import CRIModel
internal import Kernel
internal import PodRuntime
internal import Synchronization

/// What pods and containers use, as CRI's statistics messages.
final class ResourceFigures: Sendable {
  private let runtime: Runtime
  /// Where writable layers lie, one directory a container.
  private let layersDirectory: String
  private let cache = Mutex(Cache())

  private struct Cache {
    /// Of earlier readings, for rates.
    var cpu: [String: CPUSample] = [:]
    var layers: [String: LayerSample] = [:]
  }
  private struct CPUSample {
    var at: Int64
    var nanoseconds: UInt64
    var rate: UInt64
  }
  private struct LayerSample {
    var at: Int64
    var bytes: UInt64
    var inodes: UInt64
  }

  /// A writable layer is measured again after so many nanoseconds: walking it reads every directory of it.
  private static let layerAgeMax: Int64 = 10_000_000_000
  /// A rate over less time than this would be noise, nanoseconds.
  private static let rateAgeMin: Int64 = 100_000_000
  /// Entries of one writable layer that are counted; a larger one is reported as at least so large.
  private static let layerEntriesMax = 1_000_000

  init(runtime: Runtime) {
    self.runtime = runtime
    layersDirectory = runtime.configuration.rootDirectory + "/containers"
  }

  /// Drops what was kept of things that are gone.
  private func forget() {
    let ids = Set(runtime.containers.map(\.id)).union(runtime.sandboxes.map(\.id))
    cache.withLock { cache in
      cache.cpu = cache.cpu.filter { ids.contains($0.key) }
      cache.layers = cache.layers.filter { ids.contains($0.key) }
    }
  }

  func containers(_ snapshots: [ContainerSnapshot]) async -> [CRIContainerStats] {
    forget()
    var messages: [CRIContainerStats] = []
    for snapshot in snapshots { messages.append(await container(snapshot)) }
    return messages
  }

  func sandboxes(_ snapshots: [SandboxSnapshot]) async -> [CRIPodSandboxStats] {
    forget()
    var messages: [CRIPodSandboxStats] = []
    for snapshot in snapshots { messages.append(await sandbox(snapshot)) }
    return messages
  }

  func container(_ snapshot: ContainerSnapshot) async -> CRIContainerStats {
    var message = CRIContainerStats()
    message.attributes.id = snapshot.id
    message.attributes.metadata.name = snapshot.config.name
    message.attributes.metadata.attempt = snapshot.config.attempt
    message.attributes.labels = snapshot.config.labels
    message.attributes.annotations = snapshot.config.annotations
    let now = SystemClock.wallNanoseconds
    if let figures = runtime.statistics(of: snapshot) {
      message.cpu = cpu(figures, snapshot.id, now)
      message.memory = Self.memory(figures, now)
      message.swap = Self.swap(figures, now)
      message.io.timestamp = now
      if let psi = figures.ioPressure { message.io.psi = Self.pressure(psi) }
    }
    message.writableLayer = await writableLayer(snapshot, now)
    return message
  }

  func sandbox(_ snapshot: SandboxSnapshot) async -> CRIPodSandboxStats {
    var message = CRIPodSandboxStats()
    message.attributes.id = snapshot.id
    message.attributes.metadata = StatusMessages.metadata(snapshot.config.identity)
    message.attributes.labels = snapshot.config.labels
    message.attributes.annotations = snapshot.config.annotations
    let now = SystemClock.wallNanoseconds
    var linux = CRILinuxPodSandboxStats()
    if let figures = runtime.statistics(of: snapshot) {
      linux.cpu = cpu(figures, snapshot.id, now)
      linux.memory = Self.memory(figures, now)
      linux.io.timestamp = now
      if let psi = figures.ioPressure { linux.io.psi = Self.pressure(psi) }
      if let count = figures.processes {
        linux.process.timestamp = now
        linux.process.processCount = Self.value(count)
      }
    }
    if let link = snapshot.addresses.hostLink, let usage = Self.network(link) {
      linux.network.timestamp = now
      linux.network.defaultInterface = usage
      linux.network.interfaces = [usage]
    }
    for container in runtime.containers where container.sandboxID == snapshot.id {
      if case .running = container.phase { linux.containers.append(await self.container(container)) }
    }
    message.linux = linux
    return message
  }

  // MARK: Parts

  private static func value(_ number: UInt64) -> CRIUInt64Value {
    var message = CRIUInt64Value()
    message.value = number
    return message
  }

  private func cpu(_ figures: CgroupStatistics, _ id: String, _ now: Int64) -> CRICpuUsage {
    var message = CRICpuUsage()
    message.timestamp = now
    if let psi = figures.cpuPressure { message.psi = Self.pressure(psi) }
    guard let microseconds = figures.cpuMicroseconds else { return message }
    let total = microseconds * 1000
    message.usageCoreNanoSeconds = Self.value(total)
    message.usageNanoCores = Self.value(rate(id, total, now))
    return message
  }

  private func rate(_ id: String, _ total: UInt64, _ now: Int64) -> UInt64 {
    cache.withLock { cache in
      guard let last = cache.cpu[id] else {
        cache.cpu[id] = CPUSample(at: now, nanoseconds: total, rate: 0)
        return 0
      }
      let elapsed = now - last.at
      guard elapsed >= Self.rateAgeMin, total >= last.nanoseconds else { return last.rate }
      let rate = UInt64(Double(total - last.nanoseconds) * 1e9 / Double(elapsed))
      cache.cpu[id] = CPUSample(at: now, nanoseconds: total, rate: rate)
      return rate
    }
  }

  private static func memory(_ figures: CgroupStatistics, _ now: Int64) -> CRIMemoryUsage {
    var message = CRIMemoryUsage()
    message.timestamp = now
    if let psi = figures.memoryPressure { message.psi = pressure(psi) }
    if let bytes = figures.memoryBytes { message.usageBytes = value(bytes) }
    if let bytes = figures.workingSetBytes {
      message.workingSetBytes = value(bytes)
      if let limit = figures.memoryBytesMax { message.availableBytes = value(limit > bytes ? limit - bytes : 0) }
    }
    if let bytes = figures.residentBytes { message.rssBytes = value(bytes) }
    if let count = figures.pageFaults { message.pageFaults = value(count) }
    if let count = figures.majorPageFaults { message.majorPageFaults = value(count) }
    return message
  }

  private static func swap(_ figures: CgroupStatistics, _ now: Int64) -> CRISwapUsage {
    var message = CRISwapUsage()
    message.timestamp = now
    if let bytes = figures.swapBytes {
      message.swapUsageBytes = value(bytes)
      if let limit = figures.swapBytesMax { message.swapAvailableBytes = value(limit > bytes ? limit - bytes : 0) }
    }
    return message
  }

  private static func pressure(_ stall: PressureStall) -> CRIPsiStats {
    func data(_ share: PressureStall.Share) -> CRIPsiData {
      var message = CRIPsiData()
      message.total = share.totalMicroseconds
      message.avg10 = share.average10
      message.avg60 = share.average60
      message.avg300 = share.average300
      return message
    }
    var message = CRIPsiStats()
    message.some = data(stall.some)
    message.full = data(stall.full)
    return message
  }

  private static func network(_ hostLink: String) -> CRINetworkInterfaceUsage? {
    guard let link = LinkFigures.read(hostLink)?.seenFromPod else { return nil }
    var message = CRINetworkInterfaceUsage()
    message.name = "eth0"
    message.rxBytes = value(link.received.bytes)
    message.rxErrors = value(link.received.errors)
    message.txBytes = value(link.sent.bytes)
    message.txErrors = value(link.sent.errors)
    return message
  }

  private func writableLayer(_ snapshot: ContainerSnapshot, _ now: Int64) async -> CRIFilesystemUsage {
    let sample = await layer(snapshot, now)
    // As ImageFsInfo names the file system: a kubelet looks it up by this.
    return Self.usage(of: layersDirectory, at: sample.at, bytes: sample.bytes, inodes: sample.inodes)
  }

  private func layer(_ snapshot: ContainerSnapshot, _ now: Int64) async -> LayerSample {
    let path = runtime.writableLayer(of: snapshot)
    let known = cache.withLock { $0.layers[snapshot.id] }
    if let known, now - known.at < Self.layerAgeMax { return known }
    // Walks a tree that a container can make large.
    let (bytes, inodes) = await onFreshThread { Self.measure(path) }
    let sample = LayerSample(at: now, bytes: bytes, inodes: inodes)
    cache.withLock { $0.layers[snapshot.id] = sample }
    return sample
  }

  /// The file system of the containers' writable layers where it is another one than that of `directory`, with what the
  /// layers of all containers use of it; nil where it is the same.
  func layersElsewhere(than directory: String) async throws -> CRIFilesystemUsage? {
    guard let here = try Files.status(directory, follow: true),
      let there = try Files.status(layersDirectory, follow: true),
      here.device != there.device
    else { return nil }
    let now = SystemClock.wallNanoseconds
    var (bytes, inodes): (UInt64, UInt64) = (0, 0)
    for container in runtime.containers {
      let sample = await layer(container, now)
      bytes += sample.bytes
      inodes += sample.inodes
    }
    return Self.usage(of: layersDirectory, at: now, bytes: bytes, inodes: inodes)
  }

  private static func usage(of directory: String, at: Int64, bytes: UInt64, inodes: UInt64) -> CRIFilesystemUsage {
    var message = CRIFilesystemUsage()
    message.fsID.mountpoint = directory
    message.timestamp = at
    message.usedBytes = value(bytes)
    message.inodesUsed = value(inodes)
    return message
  }

  /// Bytes on disk and inodes below a directory; links are not followed, and what vanishes meanwhile is not counted.
  private static func measure(_ root: String) -> (bytes: UInt64, inodes: UInt64) {
    var bytes: UInt64 = 0
    var inodes: UInt64 = 0
    var open = [root]
    while let path = open.popLast(), inodes < layerEntriesMax {
      guard let entries = try? Directory(path: path).list() else { continue }
      for entry in entries {
        inodes += 1
        let inner = "\(path)/\(entry.name)"
        if let status = (try? Files.status(inner)).flatMap({ $0 }) { bytes += UInt64(status.blocks) * 512 }
        if entry.kind == .directory { open.append(inner) }
      }
    }
    return (bytes, inodes)
  }
}
