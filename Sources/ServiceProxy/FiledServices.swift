internal import JSON
internal import KubeClient
package import KubeModel
package import Logging
internal import Kernel
internal import YAML

/// Services and EndpointSlices of a file, in place of an API server's.
package struct ServiceFile: Sendable, Equatable {
  package var services: [Service] = []
  package var slices: [EndpointSlice] = []

  /// Bytes of a file, at most.
  package static let bytesMax = 64 << 20
  package static let documentsMax = 100_000
  /// Values in one document.
  package static let valuesMax = 10_000_000

  package struct Unreadable: Error, CustomStringConvertible {
    package let description: String
  }

  /// - Parameter text: YAML documents or JSON, of Services, EndpointSlices and Lists of them.
  /// - Throws: `Unreadable` with the document's number; nothing of the file counts then.
  package init(_ text: [UInt8]) throws(Unreadable) {
    var limits = YAMLLimits()
    limits.fileBytesMax = Self.bytesMax
    limits.documentsMax = Self.documentsMax
    limits.valuesMax = Self.valuesMax
    limits.textBytesMax = Self.bytesMax
    for document in YAML.documents(String(decoding: text, as: UTF8.self), limits: limits) {
      switch document.content {
      case .success(let value): try take(value, document.number)
      case .failure(let error): throw Unreadable(description: "document \(document.number): \(error)")
      }
    }
  }

  private mutating func take(_ document: JSONValue, _ number: Int) throws(Unreadable) {
    let kind = document["kind"]?.string ?? ""
    do {
      switch kind {
      case "Service": services.append(try Service(lenient: document))
      case "EndpointSlice": slices.append(try EndpointSlice(lenient: document))
      case "List", "ServiceList", "EndpointSliceList":
        for item in document["items"]?.array ?? [] {
          var item = item
          if item["kind"] == nil, kind != "List", var object = item.object {
            object["kind"] = .string(String(kind.dropLast("List".count)))
            item = .object(object)
          }
          try take(item, number)
        }
      default:
        throw Unreadable(description: "document \(number): kind \"\(kind)\" is not Service, EndpointSlice or List")
      }
    } catch let unreadable as Unreadable {
      throw unreadable
    } catch {
      throw Unreadable(description: "document \(number), \(kind): \(error)")
    }
  }
}

/// Serves the Services of a file, and reads it again when it changes.
package actor FiledServices {
  private let desk: ServiceDesk
  private let proxy: ServiceProxy
  private let path: String
  private let node: ProxyNode
  private let rules: ServedService.Rules
  private let logger: Logger
  private var served: [ObjectKey: ServedService] = [:]
  private var isRead = false

  package init(
    desk: ServiceDesk, proxy: ServiceProxy, path: String, node: ProxyNode, rules: ServedService.Rules, logger: Logger
  ) {
    (self.desk, self.proxy, self.path, self.node) = (desk, proxy, path, node)
    (self.rules, self.logger) = (rules, logger)
  }

  /// Works until cancelled; the kernel keeps its table. A file that cannot be read leaves what is served as it is.
  package func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { await self.desk.run() }
      group.addTask { await self.proxy.watch() }
      group.addTask { await self.follow() }
    }
  }

  private func follow() async {
    await read()
    // Editors write another file in its place, so the directory is watched.
    do {
      let watch = try InotifyWatch(directory: Files.parent(of: path))
      while !Task.isCancelled {
        let wake = try await withTaskCancellationHandler {
          try await onFreshThread { () throws(SyscallError) in try watch.wait(timeoutMilliseconds: -1) }
        } onCancel: {
          watch.interrupt()
        }
        if wake == .directoryGone {
          logger.error("\(Files.parent(of: path)) is gone; what is served stays as it is")
          return
        }
        if !Task.isCancelled { await read() }
      }
    } catch {
      logger.error("\(path) is not followed: \(error); what is served stays as it is")
    }
  }

  private var last: [UInt8]?

  private func read() async {
    let file: ServiceFile
    do {
      let path = self.path
      let bytes = try await onFreshThread { () throws(SyscallError) in
        try Files.read(path, maxBytes: ServiceFile.bytesMax)
      }
      guard bytes != last else { return }
      last = bytes
      file = try ServiceFile(bytes)
    } catch {
      logger.error("\(path): \(error); what is served stays as it is")
      return
    }
    await serve(file)
  }

  private func serve(_ file: ServiceFile) async {
    var slices: [ObjectKey: [EndpointSlice]] = [:]
    for slice in file.slices {
      let key = ObjectKey(namespace: slice.metadata.namespace ?? "default", name: slice.serviceName ?? "")
      slices[key, default: []].append(slice)
    }
    var wanted: [ObjectKey: ServedService] = [:]
    for service in file.services {
      let key = Self.key(service)
      if wanted[key] != nil {
        logger.error("\(path): service \(key) stands twice; the first counts")
        continue
      }
      wanted[key] = ServedService(service, slices: slices[key] ?? [], node: node, rules: rules)
    }
    for key in served.keys.sorted() where wanted[key] == nil { await settle(key, nil) }
    // Of two that want one address the first in the file has it.
    for service in file.services {
      let key = Self.key(service)
      if let wanted = wanted[key], served[key] != wanted { await settle(key, wanted) }
    }
    if !isRead { await proxy.release() }
    isRead = true
    logger.info("\(path): \(wanted.count) services")
  }

  private static func key(_ service: Service) -> ObjectKey {
    ObjectKey(namespace: service.metadata.namespace ?? "default", name: service.metadata.name ?? "")
  }

  private func settle(_ key: ObjectKey, _ service: ServedService?) async {
    var open: [(ObjectKey, ServedService?)] = [(key, service)]
    var done: Set<ObjectKey> = []
    served[key] = service
    while let (key, service) = open.popLast() {
      guard done.insert(key).inserted else { continue }
      let (_, again) = await desk.settle(key, service, of: nil, turn: desk.nextTurn())
      for name in again {
        let parts = name.split(separator: "/", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { continue }
        let key = ObjectKey(namespace: parts[0], name: parts[1])
        open.append((key, served[key]))
      }
    }
  }
}
