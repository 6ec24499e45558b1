/// What a record is; the numbers of IANA's list.
package struct DNSType: RawRepresentable, Hashable, Sendable {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package static let a = DNSType(rawValue: 1)
  package static let ns = DNSType(rawValue: 2)
  package static let cname = DNSType(rawValue: 5)
  package static let soa = DNSType(rawValue: 6)
  package static let ptr = DNSType(rawValue: 12)
  package static let mx = DNSType(rawValue: 15)
  package static let txt = DNSType(rawValue: 16)
  package static let aaaa = DNSType(rawValue: 28)
  package static let srv = DNSType(rawValue: 33)
  package static let opt = DNSType(rawValue: 41)
  package static let ixfr = DNSType(rawValue: 251)
  package static let axfr = DNSType(rawValue: 252)
  package static let any = DNSType(rawValue: 255)
}

/// How a question was answered (RFC 1035 §4.1.1, RFC 6891 §9).
package struct DNSCode: RawRepresentable, Hashable, Sendable {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package static let noError = DNSCode(rawValue: 0)
  package static let formatError = DNSCode(rawValue: 1)
  package static let serverFailure = DNSCode(rawValue: 2)
  package static let nameError = DNSCode(rawValue: 3)
  package static let notImplemented = DNSCode(rawValue: 4)
  package static let refused = DNSCode(rawValue: 5)
  /// Needs EDNS: its upper bits are in the OPT record.
  package static let badVersion = DNSCode(rawValue: 16)
}

package struct DNSQuestion: Hashable, Sendable {
  /// The internet's class.
  package static let classIN: UInt16 = 1

  package var name: DNSName
  package var type: DNSType
  package var classCode: UInt16

  package init(_ name: DNSName, _ type: DNSType, classCode: UInt16 = Self.classIN) {
    (self.name, self.type, self.classCode) = (name, type, classCode)
  }
}

package struct DNSRecord: Hashable, Sendable {
  package enum Data: Hashable, Sendable {
    /// 4 or 16 bytes.
    case address([UInt8])
    /// CNAME, NS, PTR.
    case name(DNSName)
    case service(priority: UInt16, weight: UInt16, port: UInt16, target: DNSName)
    case mail(preference: UInt16, host: DNSName)
    /// Times in seconds.
    case authority(primary: DNSName, mailbox: DNSName, serial: UInt32, times: [UInt32])
    case text([[UInt8]])
    /// Whatever else; it must not hold compressed names (RFC 3597 §4).
    case raw([UInt8])
  }
  package var name: DNSName
  package var type: DNSType
  package var classCode: UInt16
  /// Seconds.
  package var ttl: UInt32
  package var data: Data

  package init(
    _ name: DNSName, _ type: DNSType, classCode: UInt16 = DNSQuestion.classIN, ttl: UInt32, _ data: Data
  ) {
    (self.name, self.type, self.classCode, self.ttl, self.data) = (name, type, classCode, ttl, data)
  }
}

/// What EDNS(0) adds to a message (RFC 6891). Options are not kept: none of them concerns us.
package struct DNSExtension: Hashable, Sendable {
  /// Bytes of a UDP message that the sender takes.
  package var udpBytes: UInt16
  package var version: UInt8
  /// The sender wants DNSSEC records.
  package var wantsSignatures: Bool

  package init(udpBytes: UInt16, version: UInt8 = 0, wantsSignatures: Bool = false) {
    (self.udpBytes, self.version, self.wantsSignatures) = (udpBytes, version, wantsSignatures)
  }
}

/// A query or an answer (RFC 1035 §4).
package struct DNSMessage: Hashable, Sendable {
  package var id: UInt16 = 0
  package var isResponse = false
  package var operation: UInt8 = 0
  package var isAuthoritative = false
  package var isTruncated = false
  package var wantsRecursion = false
  package var offersRecursion = false
  package var isAuthentic = false
  package var checksDisabled = false
  package var code = DNSCode.noError
  package var questions: [DNSQuestion] = []
  package var answers: [DNSRecord] = []
  package var authority: [DNSRecord] = []
  /// Without the OPT record.
  package var additional: [DNSRecord] = []
  package var extension_: DNSExtension?

  package init() {}

  /// A query for one name, which asks for recursion.
  package init(asking question: DNSQuestion, id: UInt16) {
    self.id = id
    wantsRecursion = true
    questions = [question]
  }

  /// The empty answer to a query.
  package init(answering query: DNSMessage, code: DNSCode = .noError) {
    id = query.id
    isResponse = true
    operation = query.operation
    wantsRecursion = query.wantsRecursion
    checksDisabled = query.checksDisabled
    questions = query.questions
    self.code = code
  }
}
