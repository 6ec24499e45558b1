/// Versions of the CNI specification that are spoken. Results of all of them have the same shape, but for the `version`
/// of an address, which 1.0.0 took away.
package enum CNIVersion: String, CaseIterable, Comparable, Sendable {
  case v031 = "0.3.1"
  case v040 = "0.4.0"
  case v100 = "1.0.0"
  case v110 = "1.1.0"

  package static func < (left: CNIVersion, right: CNIVersion) -> Bool {
    (allCases.firstIndex(of: left) ?? 0) < (allCases.firstIndex(of: right) ?? 0)
  }

  /// CHECK, and DEL that is told the result of ADD.
  var hasCheck: Bool { self >= .v040 }
  /// GC and STATUS.
  var hasGarbageCollection: Bool { self >= .v110 }
  var addressesHaveVersion: Bool { self < .v100 }

  static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }
}

/// What a plugin is asked to do.
package enum CNICommand: String, Sendable {
  case add = "ADD"
  case delete = "DEL"
  case check = "CHECK"
  case collect = "GC"
  case status = "STATUS"
  case version = "VERSION"
}

/// Why a pod gets no network of CNI plugins, or keeps one.
package struct CNIError: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// The file cannot be used; nothing was run.
    case configuration
    /// There is no configuration, or none that can be used.
    case notReady
    /// A plugin is missing, failed or answered nonsense.
    case plugin
    /// A plugin did not end in time.
    case timedOut
    case kernel
    /// Not an id: 64 lowercase hexadecimal digits.
    case invalidID
  }
  package var code: Code
  /// "read 10-net.conflist", "CNI ADD of network podnet, plugin bridge".
  package var stage: String
  package var detail: String
  /// What the plugin gave as its error's number; nil where it gave none.
  package var pluginCode: Int64?

  package init(_ code: Code, stage: String, _ detail: String, pluginCode: Int64? = nil) {
    self.code = code
    self.stage = stage
    self.detail = detail
    self.pluginCode = pluginCode
  }

  package var description: String { "\(stage): \(detail)" }
}

/// Every bound of this room.
package enum CNIBounds {
  /// One run of a plugin; after that it is killed.
  package static let pluginSeconds = 60.0
  /// Plugins that run at one time.
  package static let pluginsAtOnce = 8
  /// What a plugin may print, and what one file may hold. Bytes.
  package static let outputBytesMax = 1 << 20
  package static let fileBytesMax = 1 << 20
  /// Plugins of one network.
  package static let pluginsMax = 32
  /// How long an answer of STATUS is good.
  package static let statusSeconds = 5.0
  /// Files of one directory that are looked at.
  package static let filesMax = 256
}
