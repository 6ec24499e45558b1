internal import JSON

/// The WebSocket subprotocols of Kubernetes' remote command, newest first: one byte of channel number, then data.
package enum ChannelProtocol: String, CaseIterable, Sendable {
  /// Adds a close signal for single channels, so that standard input can end while output goes on.
  case v5 = "v5.channel.k8s.io"
  /// The exit status is a `Status` document.
  case v4 = "v4.channel.k8s.io"
  /// As v4 in messages of text: a digit for the channel, then base64.
  case v4Base64 = "v4.base64.channel.k8s.io"
  /// The exit status is a line of text, or nothing.
  case v1 = "channel.k8s.io"
  /// As the first one in messages of text.
  case v1Base64 = "base64.channel.k8s.io"

  var isBase64: Bool { self == .v4Base64 || self == .v1Base64 }
  var hasStatusDocument: Bool { self != .v1 && self != .v1Base64 }

  /// The newest of those a client offers, or nil where we speak none of them.
  ///
  /// - Parameter offered: values of `Sec-WebSocket-Protocol` headers, each a comma-separated list.
  package static func best(of offered: [String]) -> ChannelProtocol? {
    let names = names(offered)
    return allCases.first { names.contains($0.rawValue) }
  }

  /// What comma-separated lists name.
  static func names(_ offered: [String]) -> Set<String> {
    Set(offered.flatMap { $0.split(separator: ",") }.map { trimmed($0) })
  }

  private static func trimmed(_ text: Substring) -> String {
    String(text.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
  }
}

/// The first byte of each message.
package enum ChannelNumber: UInt8, Sendable {
  case input = 0
  case output = 1
  case errors = 2
  /// The exit status, once, at the end.
  case status = 3
  case resize = 4
  /// v5: the second byte names the channel that its sender closes.
  case close = 255
}

/// A terminal's size in characters.
package struct TerminalSize: Hashable, Sendable {
  package var columns: UInt16
  package var rows: UInt16

  package init(columns: UInt16, rows: UInt16) {
    self.columns = columns
    self.rows = rows
  }

  /// A message of the resize channel, as `{"Width":80,"Height":24}`; nil where it is anything else.
  package init?(message: [UInt8]) {
    guard let value = try? JSONValue.parse(message, limits: JSONLimits(maxBytes: Self.messageBytesMax, maxDepth: 4)),
      let columns = value["Width"]?.integer.flatMap({ UInt16(exactly: $0) }),
      let rows = value["Height"]?.integer.flatMap({ UInt16(exactly: $0) })
    else { return nil }
    self.init(columns: columns, rows: rows)
  }

  static let messageBytesMax = 1024
}

/// How a stream ended, as its last message on the status channel says.
package enum StreamEnd: Equatable, Sendable {
  /// The process exited; nil where an attached stream ended and nobody asked for a code.
  case exited(Int32?)
  /// The stream could not be served.
  case failed(String)

  /// The payload of the status channel in `proto`.
  package func message(in proto: ChannelProtocol) -> [UInt8] {
    guard proto.hasStatusDocument else { return text }
    var status = JSONObject()
    status["metadata"] = .object(JSONObject())
    switch self {
    case .exited(nil), .exited(0):
      status["status"] = "Success"
    case .exited(let code?):
      status["status"] = "Failure"
      status["message"] = .string("command terminated with non-zero exit code: exit status \(code)")
      status["reason"] = "NonZeroExitCode"
      status["details"] = ["causes": [["reason": "ExitCode", "message": .string("\(code)")]]]
    case .failed(let message):
      status["status"] = "Failure"
      status["message"] = .string(message)
      status["reason"] = "InternalError"
      status["details"] = ["causes": [["message": .string(message)]]]
      status["code"] = 500
    }
    return JSONValue.object(status).encoded()
  }

  private var text: [UInt8] {
    switch self {
    case .exited(nil), .exited(0): []
    case .exited(let code?): Array("command terminated with non-zero exit code: exit status \(code)".utf8)
    case .failed(let message): Array(message.utf8)
    }
  }
}
