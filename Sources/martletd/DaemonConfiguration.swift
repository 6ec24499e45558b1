internal import Kernel
internal import TOMLKit

/// The daemon's configuration: built-in values, then /etc/martlet/config.toml, then its drop-ins, then flags.
struct DaemonConfiguration: Equatable {
  /// Raised when a key changes its meaning.
  static let version = 1

  enum MissingControllers: String { case refuse = "error", warn }

  var missingControllers = MissingControllers.refuse
  var cgroupParent = "martlet"
  var logLevel = "info"
  var podBlocks = ["10.87.0.0/16", "fd87:6d61:7274::/64"]
  var clusterBlocks: [String] = []
  var serviceBlocks = ["10.96.0.0/16", "fd96:6d61:7274::/112"]
  var mtu = 1500
  var poolSize = 4
  var masquerade = true
  var keepBlobs = false
  var hostsDirectory = "/etc/martlet/certs.d"
  var dockerConfig = "/root/.docker/config.json"
  var pullsMax = 16
  var unpackThreadsMax = 0
  var pinned: [String] = []
  var streamingAddress = "127.0.0.1"
  var streamingPort = 0

  struct Problem: Error, CustomStringConvertible {
    var file: String
    var problem: String
    var description: String { "\(file): \(problem)" }
  }

  /// Reads `path`, where it exists or is `required`, and the `*.toml` of the directory of the same name with `.d`.
  static func load(_ path: String, required: Bool) throws -> DaemonConfiguration {
    var configuration = DaemonConfiguration()
    if let text = try Files.readText(path) {
      try configuration.merge(text, from: path)
    } else if required {
      throw Problem(file: path, problem: "does not exist")
    }
    let dropIns = (path.hasSuffix(".toml") ? String(path.dropLast(5)) : path) + ".d"
    guard Files.exists(dropIns) else { return configuration }
    for entry in try Directory(path: dropIns).list().sorted(by: { $0.name < $1.name })
    where entry.name.hasSuffix(".toml") {
      let file = "\(dropIns)/\(entry.name)"
      try configuration.merge(try Files.readText(file) ?? "", from: file)
    }
    return configuration
  }

  /// Takes over what a file sets. A key that nobody knows is an error: it would be a wish that is not granted.
  mutating func merge(_ text: String, from file: String) throws {
    let table: TOMLTable
    do {
      table = try TOMLTable(string: text)
    } catch let error as TOMLParseError {
      throw Problem(file: file, problem: "line \(error.source.begin.line): \(error.description)")
    }
    var reader = TableReader(table, file: file, section: "")
    if let version = try reader.integer("version", 1...Int.max), version != Self.version {
      throw Problem(file: file, problem: "version \(version) is not known; this daemon reads version \(Self.version)")
    }
    if let word = try reader.string("missing-controllers") {
      guard let choice = MissingControllers(rawValue: word) else {
        throw Problem(file: file, problem: "missing-controllers: \"error\" or \"warn\"")
      }
      missingControllers = choice
    }
    try reader.string("cgroup-parent").map { cgroupParent = $0 }
    try reader.string("log-level").map { logLevel = $0 }
    if var network = try reader.table("network") {
      try network.strings("pod-cidrs").map { podBlocks = $0 }
      try network.strings("cluster-cidrs").map { clusterBlocks = $0 }
      try network.strings("service-cidrs").map { serviceBlocks = $0 }
      try network.integer("mtu", 576...65535).map { mtu = $0 }
      try network.integer("pool-size", 0...64).map { poolSize = $0 }
      try network.bool("masquerade").map { masquerade = $0 }
      try network.finish()
    }
    if var images = try reader.table("images") {
      try images.bool("keep-blobs").map { keepBlobs = $0 }
      try images.string("hosts-directory").map { hostsDirectory = $0 }
      try images.string("docker-config").map { dockerConfig = $0 }
      try images.integer("pulls-max", 1...1024).map { pullsMax = $0 }
      try images.integer("unpack-threads-max", 0...256).map { unpackThreadsMax = $0 }
      try images.strings("pinned").map { pinned = $0 }
      try images.finish()
    }
    if var streaming = try reader.table("streaming") {
      try streaming.string("address").map { streamingAddress = $0 }
      try streaming.integer("port", 0...65535).map { streamingPort = $0 }
      try streaming.finish()
    }
    try reader.finish()
  }

  /// The same as a file that reads back to this.
  var text: String {
    func list(_ words: [String]) -> String { "[" + words.map { "\"\($0)\"" }.joined(separator: ", ") + "]" }
    return """
      version = \(Self.version)
      # "warn": run without limits whose cgroup v2 controller the node lacks, instead of refusing the container.
      missing-controllers = "\(missingControllers.rawValue)"
      # Parent group of pods that ask for none.
      cgroup-parent = "\(cgroupParent)"
      # trace, debug, info, notice, warning, error or critical
      log-level = "\(logLevel)"

      [network]
      # The node's own blocks: at most one of IPv4 and one of IPv6.
      pod-cidrs = \(list(podBlocks))
      # All pods of the cluster: traffic to them is not masqueraded.
      cluster-cidrs = \(list(clusterBlocks))
      # Virtual addresses of services.
      service-cidrs = \(list(serviceBlocks))
      mtu = \(mtu)
      # Ready network namespaces that are kept.
      pool-size = \(poolSize)
      masquerade = \(masquerade)

      [images]
      # Keep compressed layers after unpacking them.
      keep-blobs = \(keepBlobs)
      # HOST/hosts.toml below it names mirrors.
      hosts-directory = "\(hostsDirectory)"
      docker-config = "\(dockerConfig)"
      pulls-max = \(pullsMax)
      # 0 is the number of processors.
      unpack-threads-max = \(unpackThreadsMax)
      # Images that are never pruned.
      pinned = \(list(pinned))

      [streaming]
      # Where exec and attach are served; 0 lets the kernel choose a port.
      address = "\(streamingAddress)"
      port = \(streamingPort)

      """
  }
}

/// Reads a table key by key and then refuses what nobody asked for.
private struct TableReader {
  private let table: TOMLTable
  private let file: String
  private let section: String
  private var known: Set<String> = []

  init(_ table: TOMLTable, file: String, section: String) {
    self.table = table
    self.file = file
    self.section = section
  }

  private func problem(_ key: String, _ text: String) -> DaemonConfiguration.Problem {
    DaemonConfiguration.Problem(file: file, problem: "\(section)\(key): \(text)")
  }

  mutating func string(_ key: String) throws -> String? {
    known.insert(key)
    guard let value = table[key] else { return nil }
    guard let text = value.string else { throw problem(key, "must be a string") }
    guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) else {
      throw problem(key, "must be without control characters, quotes and backslashes")
    }
    return text
  }

  mutating func integer(_ key: String, _ range: ClosedRange<Int>) throws -> Int? {
    known.insert(key)
    guard let value = table[key] else { return nil }
    guard let number = value.int, range.contains(number) else {
      throw problem(key, "must be an integer from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  mutating func bool(_ key: String) throws -> Bool? {
    known.insert(key)
    guard let value = table[key] else { return nil }
    guard let choice = value.bool else { throw problem(key, "must be true or false") }
    return choice
  }

  mutating func strings(_ key: String) throws -> [String]? {
    known.insert(key)
    guard let value = table[key] else { return nil }
    guard let array = value.array else { throw problem(key, "must be a list of strings") }
    return try array.map { element in
      guard let text = element.string else { throw problem(key, "must be a list of strings") }
      return text
    }
  }

  mutating func table(_ key: String) throws -> TableReader? {
    known.insert(key)
    guard let value = table[key] else { return nil }
    guard let inner = value.table else { throw problem(key, "must be a table") }
    return TableReader(inner, file: file, section: "\(section)\(key).")
  }

  func finish() throws {
    for key in table.keys.sorted() where !known.contains(key) {
      throw problem(key, "is not a key that martletd knows; see martletd config default")
    }
  }
}
