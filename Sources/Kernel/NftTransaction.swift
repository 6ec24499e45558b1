internal import CNetlink
internal import Glibc

/// Why the kernel took nothing of a transaction.
package struct NftRefusal: Error, Sendable, Hashable {
  /// Which message of the program, from 0; nil where it was none of them (sending, or the transaction's end).
  package let message: Int?
  /// Which element of an element message, where the kernel says so.
  package let element: Int?
  package let cause: SyscallError
  /// The kernel's own words, where it has some.
  package let sentence: String?

  /// A set has as many elements as it may.
  package var isOutOfRoom: Bool { cause.errno == ENFILE }
}

/// What a transaction took.
package struct NftSent: Sendable {
  package var bytes: Int
  /// Of processor time in the call that hands it over, which returns when the kernel has done it.
  package var nanoseconds: Int64

  package init(bytes: Int, nanoseconds: Int64) {
    self.bytes = bytes
    self.nanoseconds = nanoseconds
  }
}

/// Carries programs of nf_tables messages to the kernel, each as one transaction: all of it, or nothing.
///
/// Needs CAP_NET_ADMIN over the network namespace of the thread that made it. Blocks while the kernel works: well under
/// a millisecond for a small program, about 10 ns a byte for a large one.
package final class NftTransactions: Sendable {
  private let socket: NetlinkSocket
  /// Answers to questions never mix with a transaction's refusals.
  let reader: NetlinkSocket

  package init() throws(SyscallError) {
    socket = try NetlinkSocket(.netfilter)
    reader = try NetlinkSocket(.netfilter)
  }

  /// By which `NftEvents` tells its changes from others'.
  package var port: UInt32 { socket.port }

  /// - Parameter program: as CNetlink.h describes it; `NFT` makes them.
  /// - Returns: how many bytes were sent, and how long the kernel worked on them.
  /// - Throws: `NftRefusal`; the kernel's tables are then as they were.
  @discardableResult
  package func run(_ program: [UInt8]) throws(NftRefusal) -> NftSent {
    let bytes = try Self.build(program)
    let refusals: [NetlinkRefusal]
    let start = Self.threadNanoseconds
    do throws(SyscallError) {
      refusals = try socket.transact(bytes, subject: "nf_tables transaction")
    } catch {
      throw NftRefusal(message: nil, element: nil, cause: error, sentence: nil)
    }
    guard let first = refusals.min(by: { $0.sequence < $1.sequence }) else {
      return NftSent(bytes: bytes.count, nanoseconds: Self.threadNanoseconds - start)
    }
    // Sequence 1 is the batch's begin, 2 the first message.
    let message = first.sequence >= 2 ? Int(first.sequence) - 2 : nil
    throw NftRefusal(
      message: message, element: first.offset.flatMap { Self.element(at: $0, ofMessage: first.sequence, in: bytes) },
      cause: SyscallError(call: "nf_tables", subject: "transaction", errno: first.errno), sentence: first.sentence)
  }

  /// Processor time of this thread: what the kernel works for us, however busy the machine is with others.
  private static var threadNanoseconds: Int64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  /// The messages on the wire; package-visible for tests of the builder.
  package static func build(_ program: [UInt8]) throws(NftRefusal) -> [UInt8] {
    // Safe: the program outlives the call; the batch's bytes are copied before they are freed.
    var batch = unsafe program.withUnsafeBufferPointer { buffer in
      // An empty array has no base address: any non-null pointer does for a length of 0.
      unsafe cnetlink_nft_batch(buffer.baseAddress ?? UnsafePointer(bitPattern: 1)!, buffer.count, 1)
    }
    defer { unsafe cnetlink_batch_free(&batch) }
    let failure = unsafe batch.err
    if failure != 0 {
      let subject = unsafe "program of \(program.count) bytes, message \(batch.messages), byte \(batch.position)"
      throw unsafe NftRefusal(
        message: Int(batch.messages), element: nil,
        cause: SyscallError(call: "build", subject: subject, errno: failure), sentence: nil)
    }
    return unsafe Array(UnsafeBufferPointer(start: batch.bytes, count: batch.length))
  }

  /// The expressions of each rule that the program adds, in order, as the kernel's dump has them too (see
  /// `NftExpressions.agree`).
  package static func ruleExpressions(_ program: [UInt8]) throws(NftRefusal) -> [[UInt8]] {
    NetlinkSocket.split(try build(program)[...]).compactMap { message in
      guard message.type == CNETLINK_NFT_NEWRULE, let body = message.body.dropping(4) else { return nil }
      return body.attribute(CNETLINK_NFTA_RULE_EXPRESSIONS).map { Array($0.bytes) } ?? []
    }
  }

  /// Which element of the message's list the refused attribute belongs to.
  private static func element(at offset: Int, ofMessage sequence: UInt32, in bytes: [UInt8]) -> Int? {
    guard let message = NetlinkSocket.split(bytes[...]).first(where: { $0.sequence == sequence }) else { return nil }
    // The message's header has 16 bytes, nfgenmsg 4; elements are attributes of the attribute NFTA_SET_ELEM_LIST_ELEMENTS (3).
    guard let list = message.body.dropping(4)?.attributes().first(where: { $0.type == 3 }) else { return nil }
    let inside = offset - 16 - 4 - list.offset - 4
    return list.value.attributes().lastIndex { $0.offset <= inside }
  }
}
