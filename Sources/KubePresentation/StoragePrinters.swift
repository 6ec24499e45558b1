import JSON

/// Volumes, claims, classes and what drives them.
enum StoragePrinters {
  static let all: [String: Printer] = [
    "/persistentvolumes": volumes, "/persistentvolumeclaims": claims, "storage.k8s.io/storageclasses": storageClasses,
    "storage.k8s.io/csidrivers": drivers, "storage.k8s.io/csinodes": driverNodes,
    "storage.k8s.io/csistoragecapacities": capacities, "storage.k8s.io/volumeattachments": attachments,
    "storage.k8s.io/volumeattributesclasses": attributesClasses,
  ]

  private static let modeNames = [
    "ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP",
  ]

  private static func modes(_ value: JSONValue?) -> String {
    var seen: Set<String> = []
    return (value?.array ?? []).compactMap { $0.string.flatMap { modeNames[$0] } }.filter { seen.insert($0).inserted }
      .joined(separator: ",")
  }

  /// An object that is being deleted says so.
  private static func phase(_ object: JSONValue) -> JSONValue {
    let isGoing = object["metadata"]?["deletionTimestamp"]?.string != nil
    return .string(isGoing ? "Terminating" : object["status"]?.text("phase") ?? "")
  }

  private static func amount(_ value: JSONValue?) -> String { value?.string ?? value?.integer.map { String($0) } ?? "" }

  /// An annotation named the class before there was a field.
  private static func className(_ object: JSONValue) -> String {
    let annotation = object["metadata"]?["annotations"]?.text("volume.beta.kubernetes.io/storage-class") ?? ""
    return annotation.isEmpty ? object["spec"]?.text("storageClassName") ?? "" : annotation
  }

  private static let volumes = Printer(
    columns: [
      .name, Column("Capacity", "How much fits."), Column("Access Modes", "How it may be mounted."),
      Column("Reclaim Policy", "What becomes of it after its claim."), Column("Status", "Whether it is taken."),
      Column("Claim", "Who has it."), Column("StorageClass", "The class it belongs to."),
      Column("VolumeAttributesClass", "The class of its attributes."), Column("Reason", "Why it is as it is."), .age,
      Column("VolumeMode", wide: true, "A filesystem or a block device."),
    ],
    cells: { object, now in
      let spec = object["spec"] ?? [:]
      let claim = spec["claimRef"].map { "\($0.text("namespace"))/\($0.text("name"))" } ?? ""
      return [
        object.name, .string(amount(spec["capacity"]?["storage"])), .string(modes(spec["accessModes"])),
        .string(spec.text("persistentVolumeReclaimPolicy")), phase(object), .string(claim), .string(className(object)),
        .string(spec.text("volumeAttributesClassName").orElse("<unset>")),
        .string(object["status"]?.text("reason") ?? ""),
        object.age(now), .string(spec.text("volumeMode").orElse("<unset>")),
      ]
    })

  private static let claims = Printer(
    columns: [
      .name, Column("Status", "Whether it has a volume."), Column("Volume", "The volume."),
      Column("Capacity", "How much fits."), Column("Access Modes", "How it may be mounted."),
      Column("StorageClass", "The class that is asked for."),
      Column("VolumeAttributesClass", "The class of its attributes."), .age,
      Column("VolumeMode", wide: true, "A filesystem or a block device."),
    ],
    cells: { object, now in
      let spec = object["spec"] ?? [:]
      let volume = spec.text("volumeName")
      // Before it is bound, it has nothing of what a volume has.
      return [
        object.name, phase(object), .string(volume),
        .string(volume.isEmpty ? "" : amount(object["status"]?["capacity"]?["storage"])),
        .string(volume.isEmpty ? "" : modes(object["status"]?["accessModes"])), .string(className(object)),
        .string(spec.text("volumeAttributesClassName").orElse("<unset>")), object.age(now),
        .string(spec.text("volumeMode").orElse("<unset>")),
      ]
    })

  private static let storageClasses = Printer(
    columns: [
      .name, Column("Provisioner", "Who makes volumes."), Column("ReclaimPolicy", "What becomes of volumes."),
      Column("VolumeBindingMode", "When volumes are made."),
      Column("AllowVolumeExpansion", "Whether claims may grow."), .age,
    ],
    cells: { object, now in
      let annotations = object["metadata"]?["annotations"] ?? [:]
      let isDefault = [
        "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class",
      ]
      .contains { annotations.text($0) == "true" }
      let name = object["metadata"]?.text("name") ?? ""
      return [
        .string(isDefault ? "\(name) (default)" : name), .string(object.text("provisioner")),
        .string(object.text("reclaimPolicy").orElse("Delete")),
        .string(object.text("volumeBindingMode").orElse("Immediate")),
        .bool(object["allowVolumeExpansion"]?.bool == true), object.age(now),
      ]
    })

  private static func flag(_ value: JSONValue?, _ usual: Bool = false) -> JSONValue { .bool(value?.bool ?? usual) }

  private static let drivers = Printer(
    columns: [
      .name, Column("AttachRequired", type: "boolean", "Whether volumes are attached to nodes first."),
      Column("PodInfoOnMount", type: "boolean", "Whether the driver is told of the pod."),
      Column("StorageCapacity", type: "boolean", "Whether the driver says how much is free."),
      Column("TokenRequests", "Audiences of the tokens that it gets."),
      Column("RequiresRepublish", type: "boolean", "Whether it is called again and again."),
      Column("Modes", "How volumes live."), .age,
    ],
    cells: { object, now in
      let spec = object["spec"] ?? [:]
      let audiences = spec.list("tokenRequests").map { $0.text("audience") }.joined(separator: ",")
      let modes = spec.list("volumeLifecycleModes").compactMap(\.string).joined(separator: ",")
      return [
        object.name, flag(spec["attachRequired"], true), flag(spec["podInfoOnMount"]), flag(spec["storageCapacity"]),
        .string(audiences.orElse("<unset>")), flag(spec["requiresRepublish"]), .string(modes.orElse("<none>")),
        object.age(now),
      ]
    })

  private static let driverNodes = Printer(
    columns: [.name, Column("Drivers", type: "integer", "How many drivers the node has."), .age],
    cells: { object, now in [object.name, .integer(object["spec"]?.count("drivers") ?? 0), object.age(now)] })

  private static let capacities = Printer(
    columns: [.name, Column("StorageClassName", "The class."), Column("Capacity", "How much is free."), .age],
    cells: { object, now in
      [
        object.name, .string(object.text("storageClassName")), .string(amount(object["capacity"]).orElse("<unset>")),
        object.age(now),
      ]
    })

  private static let attachments = Printer(
    columns: [
      .name, Column("Attacher", "The driver."), Column("PV", "The volume."), Column("Node", "The node."),
      Column("Attached", type: "boolean", "Whether it is attached."), .age,
    ],
    cells: { object, now in
      let spec = object["spec"] ?? [:]
      return [
        object.name, .string(spec.text("attacher")), .string(spec["source"]?.text("persistentVolumeName") ?? ""),
        .string(spec.text("nodeName")), flag(object["status"]?["attached"]), object.age(now),
      ]
    })

  private static let attributesClasses = Printer(
    columns: [.name, Column("DriverName", "The driver."), .age],
    cells: { object, now in [object.name, .string(object.text("driverName")), object.age(now)] })
}
