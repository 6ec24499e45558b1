/// The daemon's settings: built-in values, over which files are laid key by key. Pure: reading files is the caller's.
package struct DaemonSettings: Equatable, Sendable {
  /// Raised when a key changes its meaning.
  package static let version = 1
  package static let defaultPath = "/etc/martlet/martletd.toml"
  /// The name that the file once had.
  package static let formerPath = "/etc/martlet/config.toml"

  package enum MissingControllers: String, CaseIterable, Sendable { case refuse = "error", warn }
  package enum CgroupDriver: String, CaseIterable, Sendable { case cgroupfs, systemd }
  package enum LogFormat: String, CaseIterable, Sendable { case text, json }
  package enum LogLevel: String, CaseIterable, Sendable { case trace, debug, info, notice, warning, error, critical }
  package enum NetworkMode: String, CaseIterable, Sendable { case auto, builtin, cni }

  package var root = "/var/lib/martlet"
  package var run = "/run/martlet"
  /// Empty: martlet.sock in the run directory.
  package var socket = ""
  /// Empty: the one beside the daemon's program.
  package var shim = ""
  package var missingControllers = MissingControllers.refuse
  package var cgroupParent = "martlet"
  package var cgroupDriver = CgroupDriver.cgroupfs

  package var logLevel = LogLevel.info
  package var logFormat = LogFormat.text

  package var networkMode = NetworkMode.auto
  package var podBlocks = ["10.87.0.0/16", "fd87:6d61:7274::/64"]
  package var clusterBlocks: [String] = []
  package var serviceBlocks = ["10.96.0.0/16", "fd96:6d61:7274::/112"]
  package var mtu = 1500
  package var poolSize = 4
  package var masquerade = true
  package var cniConfigurationDirectory = "/etc/cni/net.d"
  package var cniPluginDirectories = ["/opt/cni/bin", "/usr/lib/cni"]

  package var keepBlobs = false
  package var hostsDirectory = "/etc/martlet/certs.d"
  package var dockerConfig = "/root/.docker/config.json"
  package var pullsMax = 16
  package var unpackThreadsMax = 0
  package var pinned: [String] = []

  package var streamingAddress = "127.0.0.1"
  package var streamingPort = 0

  /// "unix:PATH", "ADDRESS:PORT", or empty for none.
  package var metricsAddress = "unix:metrics.sock"

  /// By key with its section: the file that set it, or "flag".
  package var origins: [String: String] = [:]

  package init() {}

  package var socketPath: String { socket.isEmpty ? "\(run)/martlet.sock" : socket }

  /// Where `/metrics` is served; nil for nowhere.
  package var metricsListener: MetricsListener? { MetricsListener(metricsAddress, run: run) }

  /// Two of the same values; where they come from does not matter.
  package static func == (left: Self, right: Self) -> Bool { left.entries.map(\.value) == right.entries.map(\.value) }
}

/// Where metrics are served.
package enum MetricsListener: Hashable, Sendable {
  case unix(path: String)
  case tcp(host: String, port: Int)

  /// Nil for an empty text, and for one that is neither form.
  package init?(_ text: String, run: String) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      guard !path.isEmpty else { return nil }
      self = .unix(path: path.hasPrefix("/") ? path : "\(run)/\(path)")
      return
    }
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
      (0...65535).contains(port)
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    guard !host.isEmpty, !host.contains("[") else { return nil }
    self = .tcp(host: host, port: port)
  }
}

/// What is wrong with a file, or with the whole of them.
package struct SettingsError: Error, Hashable, Sendable, CustomStringConvertible {
  package var file: String
  package var problem: String
  package var description: String { "\(file): \(problem)" }

  package init(file: String, problem: String) {
    self.file = file
    self.problem = problem
  }
}
