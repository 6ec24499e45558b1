internal import CNetlink
internal import Glibc

/// Tells when somebody else changes a table, in the network namespace of the thread that made it. Needs CAP_NET_ADMIN.
package final class NftEvents: Sendable {
  package enum Wake: Sendable, Hashable {
    /// Another program changed the table: "nft (4711)", where the kernel says so.
    case changed(by: String?)
    /// More happened than there was room for: anything may have changed.
    case lost
    case timedOut
    case interrupted
  }

  private let socket: NetlinkSocket
  private let wakeReader: SharedFD
  private let wakeWriter: SharedFD
  private let table: String
  /// What is kept for a watcher that is late; past it events are lost, and that is told.
  private static let roomBytes = 4 << 20

  /// - Parameter table: of family inet.
  package init(table: String) throws(SyscallError) {
    socket = try NetlinkSocket(.netfilter)
    self.table = table
    var wake = try Pipe()
    (wakeReader, wakeWriter) = (SharedFD(wake.takeReadEnd()), SharedFD(wake.takeWriteEnd()))
    try socket.makeRoom(Self.roomBytes)
  }

  /// Begins to listen, or stops: while somebody does, the kernel writes a notice for each element that it changes.
  package func listen(_ on: Bool) throws(SyscallError) { try socket.follow(CNETLINK_NFNLGRP_NFTABLES, on) }

  /// Ends the wait that is under way, or the next one.
  package func interrupt() {
    let byte: UInt8 = 0
    wakeWriter.withRaw { raw in _ = unsafe withUnsafePointer(to: byte) { unsafe write(raw, $0, 1) } }
  }

  /// Waits for a transaction of somebody else than `own` that touches the table. Blocks: for a thread of its own.
  package func wait(own: UInt32, timeoutMilliseconds: Int32) throws(SyscallError) -> Wake {
    var touched: Swift.Set<UInt32> = []
    var deadline: Int32 = timeoutMilliseconds
    while true {
      let (events, woken) = try socket.wait(or: wakeReader, timeoutMilliseconds: deadline)
      if woken {
        var byte: UInt8 = 0
        wakeReader.withRaw { raw in _ = unsafe read(raw, &byte, 1) }
        return .interrupted
      }
      guard events else { return touched.isEmpty ? .timedOut : .changed(by: nil) }
      do throws(SyscallError) {
        var changed: String??
        for message in try socket.receive() where message.port != own {
          guard let body = message.body.dropping(4) else { continue }
          if message.type == CNETLINK_NFT_NEWGEN {
            if touched.contains(message.port) { changed = .some(Self.culprit(body)) }
          } else if body.attribute(CNETLINK_NFTA_TABLE_NAME)?.text == table {
            touched.insert(message.port)
          }
        }
        if let changed { return .changed(by: changed) }
        // The notice that ends the transaction follows at once.
        if !touched.isEmpty { deadline = Self.restMilliseconds }
      } catch {
        if error.errno == ENOBUFS { return .lost }
        throw error
      }
    }
  }

  private static let restMilliseconds: Int32 = 200

  private static func culprit(_ body: NetlinkView) -> String? {
    guard let name = body.attribute(CNETLINK_NFTA_GEN_PROC_NAME)?.text else { return nil }
    return (body.attribute(CNETLINK_NFTA_GEN_PROC_PID)?.bigEndian32).map { "\(name) (\($0))" } ?? name
  }
}
