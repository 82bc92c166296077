"""Files in which people's tools keep the boxes and masks of photos: YOLO, COCO, Pascal VOC, PNG."""
