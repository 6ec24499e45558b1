internal import DNSMessage
internal import Synchronization

/// Answers queries: from the zone at once, from others in time.
final class DNSResolver: Sendable {
  /// Aliases that are followed, one after another.
  static let aliasesMax = 8
  /// Bytes of an answer by UDP: more may be lost on the way (RFC 9715).
  static let udpBytesMax = 1232

  enum Step: Sendable {
    case answer(DNSMessage)
    /// Others are to be asked; what the zone said already stands before their answer.
    case ask(DNSQuestion, known: [DNSRecord])
    /// Not worth an answer: a response, or no query at all.
    case silence
  }

  private let zone: Mutex<ClusterZone>
  private let forwarder: DNSForwarder
  private let upstreams: [DNSUpstream]
  private let stubs: [(domain: [String], servers: [DNSUpstream])]
  private let isSynced: @Sendable () -> Bool
  private let turn = Atomic<Int>(0)

  /// - Parameter isSynced: whether the zone is all there; until then its names are neither there nor not.
  init(
    zone: ClusterZone, forwarder: DNSForwarder, upstreams: [DNSUpstream], stubs: [DNSName: [DNSUpstream]],
    isSynced: @escaping @Sendable () -> Bool
  ) {
    self.zone = Mutex(zone)
    self.forwarder = forwarder
    self.upstreams = upstreams
    // The longest first: it is the closest.
    self.stubs = stubs.map { ($0.key.words, $0.value) }.sorted { $0.0.count > $1.0.count }
    self.isSynced = isSynced
  }

  func change(_ body: (inout ClusterZone) -> Void) { zone.withLock { body(&$0) } }

  /// What can be said without asking anybody.
  func first(_ query: DNSMessage) -> Step {
    guard !query.isResponse else { return .silence }
    var reply = DNSMessage(answering: query)
    reply.offersRecursion = true
    if let extension_ = query.extension_ {
      reply.extension_ = DNSExtension(
        udpBytes: UInt16(Self.udpBytesMax), wantsSignatures: extension_.wantsSignatures)
      if extension_.version > 0 { return .answer(reply.with(.badVersion)) }
    }
    guard query.operation == 0 else { return .answer(reply.with(.notImplemented)) }
    guard query.questions.count == 1, let question = query.questions.first else {
      return .answer(reply.with(.formatError))
    }
    guard question.classCode == DNSQuestion.classIN, question.type != .opt else { return .answer(reply.with(.refused)) }
    guard question.type != .axfr, question.type != .ixfr else { return .answer(reply.with(.refused)) }
    return follow(question, reply)
  }

  private func follow(_ asked: DNSQuestion, _ empty: DNSMessage) -> Step {
    var (reply, question) = (empty, asked)
    let turn = turn.wrappingAdd(1, ordering: .relaxed).newValue
    for _ in 0...Self.aliasesMax {
      let (answer, authority) = zone.withLock { ($0.answer(question, turn: turn), $0.authority) }
      if case .elsewhere = answer { return .ask(question, known: reply.answers) }
      guard isSynced() else { return .answer(reply.with(.serverFailure)) }
      reply.isAuthoritative = true
      switch answer {
      case .elsewhere: break
      case .nameError:
        reply.authority = [authority]
        return .answer(reply.with(.nameError))
      case .records(let records, let additional):
        reply.answers += records
        reply.additional = additional
        if records.isEmpty { reply.authority = [authority] }
        return .answer(reply)
      case .alias(let record, let target):
        reply.answers.append(record)
        question.name = target
      }
    }
    return .answer(reply.with(.serverFailure))
  }

  /// The answer with what others say; always one, also that they say nothing.
  func rest(of query: DNSMessage, _ question: DNSQuestion, known: [DNSRecord]) async -> DNSMessage {
    var reply = DNSMessage(answering: query)
    reply.offersRecursion = true
    reply.answers = known
    if let extension_ = query.extension_ {
      reply.extension_ = DNSExtension(
        udpBytes: UInt16(Self.udpBytesMax), wantsSignatures: extension_.wantsSignatures)
    }
    let key = DNSCache.Key(
      question: question, wantsSignatures: query.extension_?.wantsSignatures ?? false,
      checksDisabled: query.checksDisabled)
    guard let answer = await forwarder.resolve(key, at: servers(for: question.name)) else {
      return reply.with(.serverFailure)
    }
    reply.code = answer.code.rawValue > 0xf ? .serverFailure : answer.code
    reply.answers += answer.answers
    reply.authority = answer.authority
    reply.additional = answer.additional
    reply.isAuthentic = answer.isAuthentic && known.isEmpty
    reply.isTruncated = answer.isTruncated
    return reply
  }

  private func servers(for name: DNSName) -> [DNSUpstream] {
    guard !stubs.isEmpty else { return upstreams }
    let words = name.words
    for (domain, servers) in stubs where words.count >= domain.count && words.suffix(domain.count).elementsEqual(domain)
    {
      return servers
    }
    return upstreams
  }

  /// Bytes of an answer that whoever sent the query by UDP takes.
  static func bytesMax(for query: DNSMessage) -> Int {
    min(max(512, Int(query.extension_?.udpBytes ?? 512)), udpBytesMax)
  }
}

extension DNSMessage {
  fileprivate func with(_ code: DNSCode) -> DNSMessage {
    var out = self
    out.code = code
    return out
  }
}
